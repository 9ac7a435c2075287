"""nnsight: attribute extraction, one generation a pair of layers. usage: bench_attributes.py MODEL_FOLDER [TABLE ITEMS STRIDE CELLS]

The work of `scripts/attribute_extraction.rhai --set table=TABLE --set items=ITEMS --set stride=STRIDE`, without the choice of
items and the probe: for every item a trace of its source prompt, and for every pair of a source and a target layer (all, or every
STRIDE-th) 20 greedy tokens with the vector in place. CELLS of these generations are run (24), spread evenly over items
and layers, and the time of all is that of the cells at the same pace. ITEMS (150) is how many items the table's run reads.
"""

from common import *
import csv
import warnings

warnings.filterwarnings("ignore")
start = time.perf_counter()
import torch
from nnsight import LanguageModel

torch.set_num_threads(THREADS)
model = LanguageModel(sys.argv[1], device_map="cpu", dtype=torch.float32, dispatch=True)
emit("nnsight", "load", seconds=time.perf_counter() - start)

name = sys.argv[2] if len(sys.argv) > 2 else "country_currency"
total, stride, count = (int(n) for n in (sys.argv[3:6] + ["150", "1", "24"][len(sys.argv[3:6]) :]))
table = Path(__file__).parents[2] / "scripts/data/patchscopes" / f"{name}.tsv"
with open(table, newline="") as file:
    rows = list(csv.DictReader(file, delimiter="\t"))
tokenizer, layers = model.tokenizer, model.model.layers
chosen = range(0, len(layers), stride)
pairs = [(source, target) for source in chosen for target in chosen]


def source_text(row):
    at = row["prompt_source"].find(row["subject"])
    return row["subject"] if at < 0 else row["prompt_source"][: at + len(row["subject"])]


def vectors(row):
    """The last token's, after every layer."""
    kept = []
    with torch.no_grad(), model.trace(source_text(row)):
        for layer in layers:
            kept.append(layer.output[0, -1, :].clone().save())
    return kept


def cell(row, read, source, target):
    """Is the object in what the model says?"""
    ids = tokenizer(row["prompt_target"], return_tensors="pt")["input_ids"]
    options = dict(max_new_tokens=20, do_sample=False, pad_token_id=tokenizer.eos_token_id)
    with torch.no_grad(), model.generate(ids, **options):
        layers[target].output[0, -1, :] = read[source]
        generated = model.generator.output.save()
    said = tokenizer.decode(generated[0, ids.shape[1] :], skip_special_tokens=True)
    return row["object"].replace(" ", "") in said.replace(" ", "")


def cells():
    global right
    picked = [(i * len(rows) // count, i * len(pairs) // count) for i in range(count)]
    right = [cell(rows[row], read[row], *pairs[pair]) for row, pair in picked]


read = {i * len(rows) // count: None for i in range(count)}
traces = timed(lambda: read.update({row: vectors(rows[row]) for row in read}), 1)
cell(rows[0], read[0], 0, 0)
timing = timed(cells, 1)
for key in ("seconds", "cpu_seconds"):
    timing[key] = timing[key] * total * len(pairs) / count + traces[key] * total / len(read)
emit("nnsight", "attributes", **timing, table=name, items=total, pairs=len(pairs), cells=count, right=sum(right))
emit_peak("nnsight", "attributes")
