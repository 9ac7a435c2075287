#!/usr/bin/env bash
# Builds the book: `tests/book/build.sh MDBOOK PATCHSCRIPT FOLDER`. The reference is printed by the program.
set -euo pipefail
mdbook="$1" patchscript="$2" folder="$3"
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
rm -rf "$folder"
mkdir -p "$folder"
cp -r book.toml docs "$folder"
"$patchscript" doc > "$folder/docs/reference.md"
"$mdbook" build "$folder" --dest-dir "$folder/book"
