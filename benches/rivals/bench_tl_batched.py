"""TransformerLens: the grid by one forward pass a layer over all positions. usage: bench_tl_batched.py MODEL_FOLDER [LAYERS]

LAYERS of the grid's layers are run (3), and the time of the full grid is that of all layers at the same pace.
"""

from common import *
import warnings

warnings.filterwarnings("ignore")
import torch
from transformer_lens.model_bridge import TransformerBridge

torch.set_num_threads(THREADS)
torch.set_grad_enabled(False)
model = TransformerBridge.boot_transformers(sys.argv[1], device="cpu", dtype=torch.float32)

layers = sample(GOLDEN["layers"] - 1, int(sys.argv[2]) if len(sys.argv) > 2 else 3)
source, base = (torch.tensor([GOLDEN[name]]) for name in ("source_ids", "base_ids"))
yes, no = GOLDEN["yes_ids"], GOLDEN["no_ids"]
_, cache = model.run_with_cache(source)
batch = base.repeat(len(POSITIONS), 1)


def row(layer):
    """The metric with each position patched, one in each sequence of the batch."""
    # `resid_pre` of the next layer is `resid_post` of this one
    name = f"blocks.{layer + 1}.hook_resid_pre"

    def patch(resid, hook):
        for i, pos in enumerate(POSITIONS):
            resid[i, pos] = cache[name][0, pos]
        return resid

    p = model.run_with_hooks(batch, fwd_hooks=[(name, patch)])[:, -1].softmax(-1)
    return torch.log(p[:, yes].sum(-1) / p[:, no].sum(-1))


def grid():
    global values
    values = torch.stack([row(layer) for layer in layers])


row(layers[0])
timing = timed(grid, 1)
expected = torch.tensor([GOLDEN["grid"][layer] for layer in layers])
for key in ("seconds", "cpu_seconds"):
    timing[key] *= GOLDEN["layers"] / len(layers)
difference = (values - expected).abs().max().item()
emit("transformer-lens-batched", "sweep", **timing, layers=len(layers), largest_difference=difference)
emit_peak("transformer-lens-batched", "sweep")
