"""The comparison as a Markdown table. usage: table.py FIGURES.jsonl

Each figure is the median of its rounds; a ratio above 1 says how many times less patchscript takes.
"""

import json
import statistics
import sys
from collections import defaultdict

lines = [json.loads(line) for line in open(sys.argv[1]) if line.startswith("{")]
rounds = defaultdict(list)
for line in lines:
    rounds[line["tool"], line["figure"]].append(line)


def median(tool, figure, key):
    return statistics.median(line[key] for line in rounds[tool, figure])


def compare(title, figure, tool, key, unit, more_is_better=False):
    if not (rounds.get((tool, figure)) and rounds.get(("patchscript", figure))):
        return
    ours, theirs = median("patchscript", figure, key), median(tool, figure, key)
    ratio = ours / theirs if more_is_better else theirs / ours
    print(f"| {title} | {ours:.3g} {unit} | {tool} | {theirs:.3g} {unit} | {ratio:.2f} |")


print("| work | patchscript | rival | | ratio |\n|---|---|---|---|---|")
for tool in ("nnsight", "transformer-lens"):
    compare("grid, 30 layers × 32 positions", "sweep", tool, "seconds", "s")
hf = "transformers"
for count in (1, 16):
    for name, what in (("all", "all logits"), ("last", "last logits")):
        compare(f"forward, {count} × 58 tokens, {what}", f"forward_{count}_{name}", hf, "seconds", "s")
for count in (1, 16):
    compare(f"greedy, 32 tokens, batch {count}", f"tokens_{count}", hf, "tokens_per_second", "tokens/s", True)
compare("matmul 1024³, float32", "matmul", hf, "gflops", "GFLOP/s", True)
for tool in (hf, "nnsight", "transformer-lens"):
    compare("import and load", "load", tool, "seconds", "s")
for part, tool in (("sweep", "nnsight"), ("sweep", "transformer-lens"), ("forward", hf), ("generate", hf)):
    compare(f"peak memory, {part}", f"peak_{part}", tool, "megabytes", "MB")

print()
for line in rounds["patchscript", "sweep_rate"]:
    print(
        f"grid: {line['gflops']:.0f} of {line['matmul_gflops']:.0f} GFLOP/s ({line['share_of_matmul']:.0%}), "
        f"largest difference from the reference {line['largest_difference']:.1e}"
    )
for count in (1, 16):
    texts = {json.dumps(line["ids"]) for tool in ("patchscript", hf) for line in rounds[tool, f"tokens_{count}"]}
    print(f"greedy, batch {count}: " + ("same tokens" if len(texts) == 1 else "DIFFERENT tokens"))
others = [(line["other_cpu"], line["tool"], line["figure"]) for line in lines if "other_cpu" in line]
print("other work on the machine, at most: {:.0%} ({}, {})".format(*max(others)))
