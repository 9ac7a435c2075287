"""The comparison as a Markdown table. usage: table.py FIGURES.jsonl [seconds|cpu_seconds]

Every figure is the median of its rounds; the ratio says how many times more the rival needs.
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


def compare(work, figure, tool, key=TIME, show="{:.3g} s".format):
    if (tool, figure) in rounds and ("patchscript", figure) in rounds:
        ours, theirs = (
            statistics.median(line[key] for line in rounds[who, figure]) for who in ("patchscript", tool)
        )
        print(f"| {work} | {show(ours)} | {tool} | {show(theirs)} | {theirs / ours:.2f} |")


print("| work | patchscript | rival | | ratio |\n|---|---|---|---|---|")
hf, grids = "transformers", ("nnsight", "transformer-lens")
for tool in grids:
    compare("grid, 30 layers × 32 positions", "sweep", tool)
for count in (1, 16):
    for name in ("all", "last"):
        compare(f"forward, {count} × 58 tokens, {name} logits", f"forward_{count}_{name}", hf)
for count in (1, 16):
    rate = lambda seconds: f"{seconds:.3g} s, {32 * count / seconds:.1f} tokens/s"
    compare(f"greedy, 32 tokens, batch {count}", f"generate_{count}", hf, show=rate)
compare("matmul 1024³", "matmul", hf, show=lambda s: f"{2 * 1024**3 / s / 1e9:.0f} GFLOP/s")
for tool in (hf, *grids):
    compare("import and load", "load", tool, "seconds")
for part, tool in (("sweep", "nnsight"), ("sweep", "transformer-lens"), ("forward", hf), ("generate", hf)):
    compare(f"peak memory, {part}", f"peak_{part}", tool, "megabytes", "{:.0f} MB".format)

print()
for line in rounds["patchscript", "sweep_rate"]:
    print(
        f"grid: {line['gflops']:.0f} of {line['matmul_gflops']:.0f} GFLOP/s ({line['share_of_matmul']:.0%}), "
        f"largest difference from the reference {line['largest_difference']:.1e}"
    )
for count in (1, 16):
    texts = {json.dumps(line["ids"]) for tool in ("patchscript", hf) for line in rounds[tool, f"tokens_{count}"]}
    print(f"greedy, batch {count}: " + ("the same tokens" if len(texts) == 1 else "DIFFERENT tokens"))
others = [(line["other_cpu"], line["tool"], line["figure"]) for line in lines if "other_cpu" in line]
print("other work on the machine, at most: {:.0%} of the cores ({}, {})".format(*max(others)))
