"""TransformerLens: the neuron atlas of the middle MLP. usage: bench_atlas.py MODEL_FOLDER [TEXTS BATCH]

The work of `atlas(m, "scripts/data/texts.jsonl", mlp_post(LAYER))`, LAYER in the middle: for each neuron its largest value over
the texts, one a text, with the token it was at and the tokens around it. TEXTS (all 400) are run, in batches of BATCH (32)
that end after the layer, and the time of all is that of these at the same pace.
"""

from common import *
import warnings

warnings.filterwarnings("ignore")
import torch
from transformer_lens.model_bridge import TransformerBridge

torch.set_num_threads(THREADS)
torch.set_grad_enabled(False)
model = TransformerBridge.boot_transformers(sys.argv[1], device="cpu", dtype=torch.float32)
count, batch = (int(n) for n in (sys.argv[2:4] + ["400", "32"][len(sys.argv[2:4]) :]))
corpus = Path(__file__).parents[2] / "scripts/data/texts.jsonl"
texts = [json.loads(line)["text"] for line in corpus.open()]
ALL = len(texts)
texts = texts[:count]
layer = model.cfg.n_layers // 2
name = f"blocks.{layer}.mlp.hook_post"
# Its tokenizer begins texts with a token that the model's own does not, and that the atlas has not.
encoded = [model.tokenizer(text).input_ids[1:129] for text in texts]


def atlas(texts):
    best = places = None
    for start in range(0, len(texts), batch):
        ids = model.to_tokens(texts[start : start + batch], prepend_bos=False, padding_side="right")[:, :128]
        lengths = torch.tensor([len(ids) for ids in encoded[start : start + batch]])
        _, cache = model.run_with_cache(ids, names_filter=name, stop_at_layer=layer + 1)
        values = cache[name]
        at = torch.arange(values.shape[1])
        counts = at < lengths[:, None]
        values = values.masked_fill(~counts[..., None], -torch.inf)
        value, position = values.max(1)
        value, text = value.max(0)
        place = torch.stack([text + start, position.gather(0, text[None])[0]], 1)
        if best is None:
            best, places = value, place
        else:
            more = value > best
            best, places = torch.where(more, value, best), torch.where(more[:, None], place, places)
    records = []
    for neuron, (text, position) in enumerate(places.tolist()):
        ids = encoded[text]
        token, context = ids[position : position + 1], ids[max(0, position - 5) : position + 6]
        records.append((best[neuron].item(), model.tokenizer.decode(token), model.tokenizer.decode(context)))
    return records


atlas(texts[:batch])
found = []
timing = timed(lambda: found.extend(atlas(texts)), 1)
for key in ("seconds", "cpu_seconds"):
    timing[key] *= ALL / count
emit("transformer-lens", "atlas", **timing, largest=max(record[0] for record in found))
emit_peak("transformer-lens", "atlas")
