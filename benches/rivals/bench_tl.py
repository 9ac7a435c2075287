"""TransformerLens: the grid by `generic_activation_patch`. usage: bench_tl.py MODEL_FOLDER [LAYERS]

LAYERS of the grid's layers are run (3), and the time of the full grid is that of all layers at the same pace.
"""

from common import *
import warnings

warnings.filterwarnings("ignore")
start = time.perf_counter()
import pandas as pd
import torch
from transformer_lens import patching
from transformer_lens.model_bridge import TransformerBridge

torch.set_num_threads(THREADS)
torch.set_grad_enabled(False)
model = TransformerBridge.boot_transformers(sys.argv[1], device="cpu", dtype=torch.float32)
emit("transformer-lens", "load", seconds=time.perf_counter() - start)

layers = sample(GOLDEN["layers"] - 1, int(sys.argv[2]) if len(sys.argv) > 2 else 3)
source, base = (torch.tensor([GOLDEN[name]]) for name in ("source_ids", "base_ids"))
yes, no = GOLDEN["yes_ids"], GOLDEN["no_ids"]
_, cache = model.run_with_cache(source)


def metric(logits):
    p = logits[0, -1].softmax(-1)
    return torch.log(p[yes].sum() / p[no].sum())


def patch(cells):
    # `resid_pre` of the next layer is `resid_post` of this one
    index = pd.DataFrame([(layer + 1, pos) for layer, pos in cells], columns=["layer", "pos"])
    return patching.generic_activation_patch(
        model,
        base,
        cache,
        metric,
        patch_setter=patching.layer_pos_patch_setter,
        activation_name="resid_pre",
        index_df=index,
    )


def grid():
    global values
    values = patch([(layer, pos) for layer in layers for pos in POSITIONS])


patch([(0, POSITIONS[0])])
timing = timed(grid, 1)
expected = torch.tensor([GOLDEN["grid"][layer] for layer in layers]).flatten()
for key in ("seconds", "cpu_seconds"):
    timing[key] *= GOLDEN["layers"] / len(layers)
difference = (values - expected).abs().max().item()
emit("transformer-lens", "sweep", **timing, layers=len(layers), largest_difference=difference)
emit_peak("transformer-lens", "sweep")
