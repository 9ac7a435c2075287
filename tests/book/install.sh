#!/usr/bin/env bash
# Installs mdbook, once, into the cache folder, and prints where it is on stdout; everything else goes to stderr. No registry
# of wheels or npm packages has it, and so it is compiled: unoptimised, since a book of this size takes it no time.
set -euo pipefail

version=0.5.4
folder="${PATCHSCRIPT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/patchscript}/mdbook-$version"

if ! [ -x "$folder/bin/mdbook" ]; then
    # Its own target folder, and none of the flags of a build of ours.
    env -u CARGO_TARGET_DIR cargo install mdbook --version "$version" --locked --quiet --profile dev \
        --no-default-features --features search --root "$folder" >&2
fi
echo "$folder/bin/mdbook"
