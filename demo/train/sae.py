"""Trains a top-k sparse autoencoder on a middle layer's residual stream and saves it in SAELens' layout."""

import json
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor, nn

import data
from model import Llama

# Read with more active features than it was trained with, it leaves less.
LAYER, FEATURES, K, K_USED = 4, 768, 24, 32
STEPS, BATCH, RATE = 6000, 4096, 1e-3


class Sae(nn.Module):
    """encode: the k largest of (x - b_dec) W_enc + b_enc, not below 0; decode: f W_dec + b_dec."""

    def __init__(self, width: int, k: int = K):
        super().__init__()
        self.k = k
        decoder = F.normalize(torch.randn(FEATURES, width), dim=1)
        self.W_dec, self.W_enc = nn.Parameter(decoder), nn.Parameter(decoder.t().clone())
        self.b_enc, self.b_dec = nn.Parameter(torch.zeros(FEATURES)), nn.Parameter(torch.zeros(width))

    def encode(self, x: Tensor) -> Tensor:
        before = (x - self.b_dec) @ self.W_enc + self.b_enc
        best, which = before.topk(self.k, -1)
        return torch.zeros_like(before).scatter(-1, which, best.relu())

    def decode(self, f: Tensor) -> Tensor:
        return f @ self.W_dec + self.b_dec


@torch.no_grad()
def activations(model: Llama, rows: data.Rows, device: str, bos: int) -> Tensor:
    """[n, d_model]: resid_post of `LAYER` in packed rows, without padding and first tokens."""
    out = []
    for i in range(0, len(rows.ids), 128):
        ids, texts = (torch.from_numpy(a[i : i + 128, :-1]).to(device) for a in (rows.ids, rows.texts))
        x = model.residuals(ids.long(), data.same_text(texts))[LAYER]
        out.append(x[(texts > 0) & ~data.first_of_text(texts) & (ids > bos)].half())
    return torch.cat(out)


def unexplained(sae: Sae, x: Tensor) -> tuple[float, float]:
    """The share of variance that the reconstruction leaves, and of features that are never active."""
    f = sae.encode(x)
    return (((sae.decode(f) - x) ** 2).sum() / ((x - x.mean(0)) ** 2).sum()).item(), (f > 0).any(0).logical_not().float().mean().item()


def train(folder: Path, stories: Path, device: str, rows: int = 4000, steps: int = STEPS) -> None:
    torch.manual_seed(0)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    model, bos = Llama.load(folder, device), tokenizer.token_to_id("<|bos|>")
    texts = data.read_stories(stories)[1][: rows * 3]
    packed = data.story_rows(tokenizer, texts, data.workers()), data.task_rows(tokenizer, rows * 8, data.workers())
    x = torch.cat([activations(model, part, device, bos) for part in packed])
    x = x[torch.randperm(len(x), device=device)]
    held, x = x[:20000].float(), x[20000:]
    sae = Sae(x.shape[1]).to(device)
    with torch.no_grad():
        sae.b_dec.copy_(held.mean(0))
    optimizer = torch.optim.Adam(sae.parameters(), lr=RATE)
    alive = torch.zeros(FEATURES, device=device)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1, 5 * (1 - step / steps))
        batch = x[torch.randint(0, len(x), (BATCH,), device=device)].float()
        f = sae.encode(batch)
        rest = batch - sae.decode(f)
        loss = (rest**2).sum(-1).mean()
        # Features that have long been silent learn what the others leave over.
        alive = torch.where((f > 0).any(0), 0, alive + 1)
        silent = alive > 50
        if silent.sum() > K:
            before = ((batch - sae.b_dec) @ sae.W_enc + sae.b_enc).masked_fill(~silent, -torch.inf)
            best, which = before.topk(K, -1)
            extra = torch.zeros_like(f).scatter(-1, which, best.relu()) @ sae.W_dec
            loss = loss + ((extra - rest.detach()) ** 2).sum(-1).mean() / 32
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            sae.W_dec.copy_(F.normalize(sae.W_dec, dim=1))
    with torch.no_grad():
        print("sparse autoencoder: %.3f of the variance unexplained, %.3f of the features silent" % unexplained(sae, held), flush=True)
    save(sae, folder / "sae")


def save(sae: Sae, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    save_file({name: p.detach().half().cpu().contiguous() for name, p in sae.named_parameters()}, folder / "sae_weights.safetensors")
    config = {
        "architecture": "topk", "k": K_USED, "d_in": sae.W_enc.shape[0], "d_sae": FEATURES, "dtype": "float16", "device": "cpu",
        "apply_b_dec_to_input": True, "normalize_activations": "none", "reshape_activations": "none", "rescale_acts_by_decoder_norm": False,
        "metadata": {"model_name": "demo", "hook_name": f"blocks.{LAYER}.hook_resid_post", "prepend_bos": True, "context_size": data.ROW},
    }  # fmt: skip
    (folder / "cfg.json").write_text(json.dumps(config, indent=2) + "\n")


def load(folder: Path) -> Sae:
    weights = load_file(folder / "sae_weights.safetensors")
    sae = Sae(weights["b_dec"].shape[0])
    sae.load_state_dict({name: t.float() for name, t in weights.items()})
    sae.k = json.loads((folder / "cfg.json").read_text())["k"]
    return sae
