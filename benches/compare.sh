#!/usr/bin/env bash
# Runs patchscript and the rivals of benches/rivals in turn on the same cores and prints the medians as a table.
#
# usage: benches/compare.sh PYTHON MODEL_FOLDER [FIGURES.jsonl]
#
# PYTHON has what benches/rivals/requirements.txt names, MODEL_FOLDER is what benches/rivals/convert.py wrote.
# ROUNDS (3) is how often all is repeated, RIVAL_LAYERS (3) how many of the grid's 30 layers the rivals run, THREADS
# (all cores) how many threads both sides have. With THREADS=1 the table shows CPU seconds, which can be compared even
# where the machine has other work.
set -euo pipefail
python="$1" model="$(realpath "$2")" figures="$(realpath "${3:-$(mktemp --suffix .jsonl)}")"
export THREADS="${THREADS:-$(nproc)}"
export RAYON_NUM_THREADS="$THREADS" OMP_NUM_THREADS="$THREADS"
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Both sides have the same weights: patchscript reads the file that MODEL_FOLDER was made from.
gguf="$(tests/fetch-smollm2.sh)"
ours="$(cargo bench --bench compare --no-run --message-format json |
    "$python" -c 'import json, sys; print(next(m["executable"] for m in map(json.loads, sys.stdin) if m.get("target", {}).get("name") == "compare"))')"
rival() { "$python" "benches/rivals/bench_$1.py" "$model" "${@:2}"; }

for _ in $(seq "${ROUNDS:-3}"); do
    for part in matmul forward generate; do
        "$ours" --model "$gguf" "$part"
        rival hf "$part"
    done
    "$ours" --model "$gguf" sweep
    rival nnsight "${RIVAL_LAYERS:-3}"
    "$ours" --model "$gguf" sweep
    rival tl "${RIVAL_LAYERS:-3}"
    rival tl_batched "${RIVAL_LAYERS:-3}"
done | tee "$figures" >&2
for table in table sweep_table; do
    "$python" "benches/rivals/$table.py" "$figures" "$([ "$THREADS" = 1 ] && echo cpu_seconds || echo seconds)"
done
echo "figures: $figures" >&2
