#!/usr/bin/env bash
# Fetches published chat templates into a folder of the cache, once: the Python packages `trl` and `axolotl` (both
# Apache-2.0) ship copies of them. Prints the folder on stdout; everything else goes to stderr.
set -euo pipefail

cache="${PATCHSCRIPT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/patchscript}"
target="$cache/chat-templates"

sums() {
    cat <<'SUMS'
ecd6ae513fe103f0eb62e8ab5bfa8d0fe45c1074fa398b089c93a7e70c15cfd6  gemma-2.jinja
7de1c58e208eda46e9c7f86397df37ec49883aeece39fb961e0a6b24088dd3c4  gemma-3.jinja
e10ca381b1ccc5cf9db52e371f3b6651576caee0a630b452e2816b2d404d4b65  llama-3.1.jinja
a2a37622b263c675745fdfac04fccc35f2e187bd0dee26abdfa0c2bf03841adb  mistral-v0.3.jinja
dcaee66df77bfbb789ec541fe713218da30225a526f1db97138fc39ee6dc56aa  phi-3.jinja
cd8e9439f0570856fd70470bf8889ebd8b5d1107207f67a5efb46e342330527f  qwen2.5.jinja
a55ee1b1660128b7098723e0abcd92caa0788061051c62d51cbe87d9cf1974d8  qwen3.jinja
SUMS
}

has_sums() { (cd "$1" && sums | sha256sum --check --quiet --status); }

if ! { [ -d "$target" ] && has_sums "$target"; }; then
    mkdir -p "$cache"
    # Beside the target, so that the last step is a rename.
    work="$(mktemp -d "$cache/.fetch.XXXXXX")"
    trap 'rm -rf "$work"' EXIT
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$work" trl==1.16.0 axolotl==0.19.0 >&2
    for wheel in "$work"/*.whl; do
        python3 -m zipfile -e "$wheel" "$work" >&2
    done
    trl="$work/trl/chat_templates" axolotl="$work/axolotl/utils/chat_templates/templates"
    mkdir "$work/chat-templates"
    while read -r name file; do
        cp "$file" "$work/chat-templates/$name.jinja"
    done <<NAMES
llama-3.1 $trl/llama3_1.jinja
gemma-2 $trl/gemma.jinja
gemma-3 $trl/gemma3.jinja
qwen2.5 $trl/qwen2_5.jinja
qwen3 $trl/qwen3.jinja
phi-3 $trl/phi3.jinja
mistral-v0.3 $axolotl/mistral_v2v3.jinja
NAMES
    has_sums "$work/chat-templates" || { echo "fetch-chat-templates: a template has the wrong SHA-256" >&2; exit 1; }
    rm -rf "$target"
    mv "$work/chat-templates" "$target"
fi
echo "$target"
