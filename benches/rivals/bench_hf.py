"""transformers: plain forward passes and greedy generation. usage: bench_hf.py MODEL_FOLDER matmul|forward|generate …"""

from common import *

start = time.perf_counter()
import torch
from transformers import AutoModelForCausalLM

torch.set_num_threads(THREADS)
torch.set_grad_enabled(False)
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32).eval()
emit("transformers", "load", seconds=time.perf_counter() - start)
base = torch.tensor([GOLDEN["base_ids"]])


def matmul():
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    emit("transformers", "matmul", **timed(lambda: a @ b, 15))


def forward():
    for count in (1, 16):
        ids = base.repeat(count, 1)
        for name, keep in (("all", 0), ("last", 1)):
            run = lambda: model(ids, use_cache=False, logits_to_keep=keep)
            run()
            emit("transformers", f"forward_{count}_{name}", **timed(run))


def generate():
    new = 32
    for count in (1, 16):
        ids = torch.cat([base[:, 23 + i : 31 + i] for i in range(count)])
        options = dict(max_new_tokens=new, min_new_tokens=new, do_sample=False, pad_token_id=GOLDEN["pad_id"])
        run = lambda: model.generate(ids, attention_mask=torch.ones_like(ids), **options)
        out = run()[:, ids.shape[1] :].tolist()
        emit("transformers", f"generate_{count}", **timed(run))
        emit("transformers", f"tokens_{count}", ids=out)


for part in sys.argv[2:]:
    {"matmul": matmul, "forward": forward, "generate": generate}[part]()
    emit_peak("transformers", part)
