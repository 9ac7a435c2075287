"""nnsight: the percentage experiment, prompt by prompt. usage: bench_percentage.py MODEL_FOLDER [PROMPTS]

For every prompt the work of `scripts/percentage_patching.rhai --set subset=all`
(where no answer is a fraction, so that its own sweep is empty; it also patches a control token, which this does not):
a trace that keeps the middle layer, three greedy tokens, and ten greedy tokens with another prompt's vector at the `%`.
PROMPTS of the 1000 are run (20), and the time of all is that of 1000 at the same pace.
"""

from common import *
import warnings

warnings.filterwarnings("ignore")
start = time.perf_counter()
import torch
from nnsight import LanguageModel

TOTAL = 1000
torch.set_num_threads(THREADS)
model = LanguageModel(sys.argv[1], device_map="cpu", dtype=torch.float32, dispatch=True)
emit("nnsight", "load", seconds=time.perf_counter() - start)

draws = json.loads((Path(__file__).parents[2] / "tests/golden/seed000_prompts.json").read_text())
count = int(sys.argv[2]) if len(sys.argv) > 2 else 20
percents = [draw[1] for draw in draws["ps"][:count]]
classes = "one half, two thirds, three quarters, one third, one quarter, one fifth, one sixth, one seventh, one eighth, one ninth, one tenth"
tokenizer, layers = model.tokenizer, model.model.layers
middle = len(layers) // 2


def ask(percent):
    messages = [
        {"role": "system", "content": f"Respond with exactly one of: [{classes}]."},
        {"role": "user", "content": f"{percent}% is"},
        {"role": "assistant", "content": "Answer:"},
    ]
    text = tokenizer.apply_chat_template(messages, continue_final_message=True, tokenize=False)
    return tokenizer(text, return_tensors="pt")


def experiment():
    asked = []
    for percent in percents:
        prompt = ask(percent)
        ids = prompt["input_ids"]
        with torch.no_grad(), model.trace(ids):
            vectors = layers[middle].output[0].save()
        network = model._model if hasattr(model, "_model") else model._module
        with torch.no_grad():
            network.generate(**prompt, max_new_tokens=3, do_sample=False, pad_token_id=tokenizer.eos_token_id)
        at = next(i for i, token in enumerate(ids[0].tolist()) if "%" in tokenizer.decode(token))
        asked.append((prompt, at, vectors.detach().clone()))
    for row, (prompt, at, _) in enumerate(asked):
        _, donor_at, donor = asked[(row + 1) % len(asked)]
        options = dict(max_new_tokens=10, do_sample=False, pad_token_id=tokenizer.eos_token_id)
        with torch.no_grad(), model.generate(prompt["input_ids"], **options):
            layers[middle].output[0, at, :] = donor[donor_at]
            generated = model.generator.output.save()


timing = timed(experiment, 1)
for key in ("seconds", "cpu_seconds"):
    timing[key] *= TOTAL / len(percents)
emit("nnsight", "percentage", **timing, prompts=len(percents))
emit_peak("nnsight", "percentage")
