"""Samples short stories in plain English from SmolLM2-135M-Instruct (Apache-2.0).

usage: stories.py MODEL.gguf OUT.txt SECONDS

One text a paragraph block, each ended by a line `<|end|>`. Needs a GPU; `tests/fetch-smollm2.sh` fetches the model.
Sampling on another card gives other texts of the same kind.
"""

import os
import random
import sys
import time

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

BATCH, NEW_TOKENS, TEMPERATURE, TOP_K = 4096, 180, 0.6, 40

THINGS = (
    "dog cat bird fish horse rabbit mouse bear fox owl frog duck lion tree river garden boat train bicycle kite ball lamp clock book "
    "letter key box basket cake soup apple pear bread hat coat shoe drum flute window door bridge farm forest island cave tower "
    "castle ship star moon cloud stone shell feather leaf flower seed egg nest rope ladder bucket spoon table chair bed blanket "
    "mirror candle coin map flag bell wheel cart tent puppet doll robot rocket telescope camera radio violin piano brush pencil "
    "hammer wagon lantern whistle button scarf glove umbrella"
).split()
PEOPLE = (
    "Anna Tom Lily Ben Sara Max Mia Sam Zoe Leo Emma Jack Nina Paul Rosa Carl Ella Hugo Ruth Omar Ivy Noah Clara Felix Maya Oscar "
    "Alice David Laura Peter Julia Simon Grace Martin Helen Victor Diana Robert Sophie Daniel John Mary"
).split()
KINDS = (
    "small big old new happy sad brave quiet kind lost broken shiny red blue green golden heavy soft warm cold hungry tired clever "
    "shy proud angry gentle funny strange secret"
).split()
DEEDS = (
    "share help find lose build fix learn wait look listen run hide climb swim cook clean draw sing dance read write plant trade "
    "forgive visit travel sleep"
).split()
PLACES = (
    "village city farm school library market forest beach lake mountain island kitchen garden museum station harbour hospital bakery "
    "park desert"
).split()
REQUESTS = [
    "Write a short story for a young child about a {kind} {thing} and a {other}. Use very simple words.",
    "Tell a short story in simple words about {person} and {friend}, who want to {deed} in the {place}.",
    "{person} found a {kind} {thing} near the {place}. What happened next? Tell it in simple words.",
    "Write a short story about {person} and a {kind} {thing}. Use short sentences and simple words.",
    "Tell a bedtime story about a {kind} {thing} that wanted to {deed}. Use simple words.",
]


def request(r: random.Random) -> str:
    words = dict(
        thing=r.choice(THINGS), other=r.choice(THINGS), person=r.choice(PEOPLE), friend=r.choice(PEOPLE),
        kind=r.choice(KINDS), deed=r.choice(DEEDS), place=r.choice(PLACES),
    )
    text = r.choice(REQUESTS).format(**words)
    return f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"


@torch.no_grad()
def sample(model, tokenizer, prompts: list[str]) -> list[str]:
    batch = tokenizer(prompts, return_tensors="pt", padding=True).to("cuda")
    ids, mask, cache, out = batch.input_ids, batch.attention_mask, None, []
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    for _ in range(NEW_TOKENS):
        step = model(ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache = step.past_key_values
        best, which = (step.logits[:, -1].float() / TEMPERATURE).topk(TOP_K)
        ids = which.gather(1, best.softmax(-1).multinomial(1))
        positions = positions[:, -1:] + 1
        mask = torch.cat([mask, mask.new_ones(len(prompts), 1)], 1)
        out.append(ids)
    ended = []
    for row in torch.cat(out, 1).tolist():
        ended.append(row[: row.index(tokenizer.eos_token_id)] if tokenizer.eos_token_id in row else row)
    return tokenizer.batch_decode(ended, skip_special_tokens=True)


def tidy(text: str) -> str | None:
    """The text up to its last whole sentence; none if it is short, not ASCII, or goes round in circles."""
    for curly, plain in {"\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2014": "-"}.items():
        text = text.replace(curly, plain)
    text = text[: max(text.rfind(end) for end in ".!?") + 1].strip()
    sentences = [s for s in text.replace("!", ".").replace("?", ".").split(".") if s.strip()]
    if len(text) < 80 or not text.isascii() or len(set(sentences)) < len(sentences):
        return None
    return text


def main(gguf: str, out: str, seconds: float) -> None:
    folder, file = os.path.split(gguf)
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file)
    tokenizer.padding_side, tokenizer.pad_token = "left", tokenizer.eos_token
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32).to(torch.bfloat16).cuda().eval()
    torch.manual_seed(0)
    r, start, n, size = random.Random(0), time.time(), 0, 0
    with open(out, "w") as file:
        while time.time() - start < seconds:
            for text in filter(None, map(tidy, sample(model, tokenizer, [request(r) for _ in range(BATCH)]))):
                file.write(f"{text}\n<|end|>\n")
                n, size = n + 1, size + len(text)
            print(f"{n} texts, {size / 1e6:.1f} MB, {time.time() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
