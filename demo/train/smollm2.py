"""Bits per byte of SmolLM2-135M-Instruct on the held-out stories, the measure that the demo model's is compared with.

usage: smollm2.py MODEL.gguf HELD_OUT_STORIES.txt
"""

import math
import os
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM, AutoTokenizer


@torch.no_grad()
def main(gguf: str, stories: str) -> None:
    folder, file = os.path.split(gguf)
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file)
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32).eval()
    bits = size = 0
    for text in filter(None, map(str.strip, Path(stories).read_text().split("<|end|>"))):
        ids = torch.tensor([[tokenizer.convert_tokens_to_ids("<|endoftext|>"), *tokenizer(text).input_ids]])
        bits += F.cross_entropy(model(ids).logits[0, :-1], ids[0, 1:], reduction="sum").item() / math.log(2)
        size += len(text.encode())
    print(f"bits per byte: {bits / size:.4f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
