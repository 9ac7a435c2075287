"""The GGUF that the tests use as a Hugging Face folder with the same float32 weights. usage: convert.py GGUF OUT"""

import copy
import os
import sys

os.environ.setdefault("HF_HUB_OFFLINE", "1")
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

folder, file = os.path.split(os.path.abspath(sys.argv[1]))
tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file)
quantised = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32)
# A model read from GGUF counts as quantised and refuses to be saved; a plain one takes its weights.
config = copy.deepcopy(quantised.config)
if hasattr(config, "quantization_config"):
    del config.quantization_config
plain = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
plain.load_state_dict(quantised.state_dict())
plain.tie_weights()
plain.generation_config = quantised.generation_config
plain.save_pretrained(sys.argv[2])
tokenizer.save_pretrained(sys.argv[2])
