"""nnsight: the grid, one trace a cell. usage: bench_nnsight.py MODEL_FOLDER [LAYERS]

LAYERS of the grid's layers are run (3), and the time of the full grid is that of all layers at the same pace.
"""

from common import *
import warnings

warnings.filterwarnings("ignore")
start = time.perf_counter()
import torch
from nnsight import LanguageModel

torch.set_num_threads(THREADS)
model = LanguageModel(sys.argv[1], device_map="cpu", dtype=torch.float32, dispatch=True)
emit("nnsight", "load", seconds=time.perf_counter() - start)

layers = sample(GOLDEN["layers"], int(sys.argv[2]) if len(sys.argv) > 2 else 3)
source, base = (torch.tensor([GOLDEN[name]]) for name in ("source_ids", "base_ids"))
yes, no = GOLDEN["yes_ids"], GOLDEN["no_ids"]
donor = []
with torch.no_grad(), model.trace(source):
    for layer in model.model.layers:
        donor.append(layer.output.clone().save())


def cell(layer, pos):
    with torch.no_grad():
        with model.trace(base):
            out = model.model.layers[layer].output[0]
            out[pos, :] = donor[layer][0, pos, :]
            logits = model.output.logits.save()
    p = logits[0, -1].softmax(-1)
    return torch.log(p[yes].sum() / p[no].sum()).item()


def grid():
    global values
    values = [[cell(layer, pos) for pos in POSITIONS] for layer in layers]


cell(0, POSITIONS[0])
timing = timed(grid, 1)
difference = max(abs(v - w) for row, l in zip(values, layers) for v, w in zip(row, GOLDEN["grid"][l]))
for key in ("seconds", "cpu_seconds"):
    timing[key] *= GOLDEN["layers"] / len(layers)
emit("nnsight", "sweep", **timing, layers=len(layers), largest_difference=difference)
emit_peak("nnsight", "sweep")
