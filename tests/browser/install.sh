#!/usr/bin/env bash
# Installs what the tests of interactive pages drive, once: Chromium by the system's packages, unless it is there, and
# playwright-core into the cache folder. Prints that folder on stdout; everything else goes to stderr.
set -euo pipefail

version=1.56.1
folder="${PATCHSCRIPT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/patchscript}/browser-$version"

if ! command -v chromium > /dev/null; then
    apt-get install -y -qq --no-install-recommends chromium >&2
fi
if ! [ -f "$folder/node_modules/playwright-core/package.json" ]; then
    mkdir -p "$folder"
    npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$folder" "playwright-core@$version" >&2
fi
echo "$folder"
