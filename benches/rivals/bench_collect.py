"""TransformerLens: the activations of one layer over short prompts. usage: bench_collect.py MODEL_FOLDER [PROMPTS LAYER]

The work of `collect(m, "prompts.jsonl", resid_post(LAYER), #{bos: true})` (15) on 18,000 prompts, those of demo/corpus.jsonl nine times:
the rows of every token in memory, with its id and the number of its prompt. PROMPTS (500) are run, and the time of all is that of
these at the same pace. In batches of 5 as the published experiment on mixtures runs them, the whole model; and in larger
ones that end after the layer.
"""

from common import *
import warnings

warnings.filterwarnings("ignore")
import torch
from transformer_lens.model_bridge import TransformerBridge

torch.set_num_threads(THREADS)
torch.set_grad_enabled(False)
model = TransformerBridge.boot_transformers(sys.argv[1], device="cpu", dtype=torch.float32)
count, layer = (int(n) for n in (sys.argv[2:4] + ["500", "15"][len(sys.argv[2:4]) :]))
corpus = Path(__file__).parents[2] / "demo/corpus.jsonl"
texts = [json.loads(line)["text"] for line in corpus.open()]
prompts = [texts[i * len(texts) // count] for i in range(count)]
name = f"blocks.{layer}.hook_resid_post"
ALL = 18_000


def collect(prompts, batch, **options):
    rows, tokens, of = [], [], []
    for start in range(0, len(prompts), batch):
        texts = prompts[start : start + batch]
        ids = model.to_tokens(texts, padding_side="right")
        _, cache = model.run_with_cache(ids, names_filter=name, **options)
        for i, text in enumerate(texts):
            # With the token that begins it, which is left out.
            length = len(model.tokenizer(text).input_ids)
            rows.append(cache[name][i, 1:length].clone())
            tokens.extend(ids[i, 1:length].tolist())
            of.extend([start + i] * (length - 1))
    return torch.cat(rows), tokens, of


def run(figure, batch, **options):
    collect(prompts[: 2 * batch], batch, **options)
    found = []
    timing = timed(lambda: found.extend(collect(prompts, batch, **options)), 1)
    for key in ("seconds", "cpu_seconds"):
        timing[key] *= ALL / count
    emit("transformer-lens", figure, **timing, rows=len(found[1]) * ALL // count)


# As the published experiment does, and as it is fastest.
run("collect_5_whole", 5)
for batch in (16, 64):
    run(f"collect_{batch}", batch, stop_at_layer=layer + 1)
emit_peak("transformer-lens", "collect")
