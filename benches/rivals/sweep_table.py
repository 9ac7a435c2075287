"""The comparison in the columns of public sweep harnesses. usage: sweep_table.py FIGURES.jsonl [seconds|cpu_seconds]

Each figure stands beside its floor: the products that this way of working needs, at the best rate at which a product of
1024³ ran on either side. patchscript's grid needs what its plan says, the others a full pass a cell.
"""

import json
import statistics
import sys
from collections import defaultdict

TIME = sys.argv[2] if len(sys.argv) > 2 else "seconds"
lines = [json.loads(line) for line in open(sys.argv[1]) if line.startswith("{")]
rounds = defaultdict(list)
for line in lines:
    rounds[line["tool"], line["figure"]].append(line)

# SmolLM2-135M: layers, their weights, the table's, tokens of the prompt, cells.
LAYERS, WEIGHTS, TABLE, TOKENS, CELLS = 30, 576 * (2 * 576 + 2 * 192 + 3 * 1536), 49152 * 576, 58, 30 * 32
ROW = 2 * LAYERS * WEIGHTS
fastest = min(line["cpu_seconds"] if TIME == "cpu_seconds" else line["all"][0] for (_, figure), all in rounds.items() if figure == "matmul" for line in all)
rate = 2 * 1024**3 / fastest


def median(tool, figure, key=TIME):
    found = rounds.get((tool, figure))
    return statistics.median(line[key] for line in found) if found else None


print(f"a product of 1024³ at best: {rate / 1e9:.0f} GFLOP/s\n")
print("| tool | wall_s | cells_per_s | floor_s | wall_s / floor_s |\n|---|---|---|---|---|")
for tool in ("patchscript", "nnsight", "transformer-lens", "transformer-lens-batched"):
    seconds = median(tool, "sweep")
    if seconds is None:
        continue
    # All logits are computed by the rivals.
    work = CELLS * TOKENS * (ROW + 2 * TABLE)
    if tool == "patchscript":
        work = median(tool, "sweep_rate", "gflops") * 1e9 * median(tool, "sweep", "seconds")
    floor = work / rate
    print(f"| {tool} | {seconds:.1f} | {CELLS / seconds:.1f} | {floor:.1f} | {seconds / floor:.2f} |")
print("\n| work | tool | tokens/s | floor, tokens/s | share |\n|---|---|---|---|---|")
for figure, tokens, work in (
    *((f"forward_{n}_all", n * TOKENS, n * TOKENS * (ROW + 2 * TABLE)) for n in (1, 16)),
    *((f"forward_{n}_last", n * TOKENS, n * (TOKENS * ROW + 2 * TABLE)) for n in (1, 16)),
    *((f"generate_{n}", n * 32, n * ((31 + 8) * ROW + 32 * 2 * TABLE)) for n in (1, 16)),
):
    for tool in ("patchscript", "transformers"):
        seconds = median(tool, figure)
        if seconds is not None:
            print(f"| {figure} | {tool} | {tokens / seconds:.0f} | {tokens * rate / work:.0f} | {work / rate / seconds:.2f} |")
