"""Writes model/, the smallest model that loads, and seeds of every kind into corpus/.

usage: python make_seeds.py   (needs `pip install gguf==0.19.0 safetensors tokenizers numpy`)
"""
import json
import os
import shutil

import gguf
import numpy as np
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

HERE = os.path.dirname(os.path.abspath(__file__))
WIDTH, VOCAB = 8, 16
CONFIG = {
    "model_type": "llama", "num_hidden_layers": 1, "hidden_size": WIDTH, "num_attention_heads": 2,
    "num_key_value_heads": 1, "intermediate_size": WIDTH, "vocab_size": VOCAB, "max_position_embeddings": 32,
    "rms_norm_eps": 1e-6, "hidden_act": "silu", "rope_theta": 10000.0, "tie_word_embeddings": True,
}
rng = np.random.default_rng(0)


def at(*parts):
    return os.path.join(HERE, *parts)


def tensors():
    shapes = {"model.embed_tokens.weight": (VOCAB, WIDTH), "model.norm.weight": (WIDTH,)}
    for name in ("input_layernorm", "post_attention_layernorm"):
        shapes[f"model.layers.0.{name}.weight"] = (WIDTH,)
    for name, rows in {"self_attn.q": WIDTH, "self_attn.k": WIDTH // 2, "self_attn.v": WIDTH // 2, "self_attn.o": WIDTH,
                       "mlp.gate": WIDTH, "mlp.up": WIDTH, "mlp.down": WIDTH}.items():
        shapes[f"model.layers.0.{name}_proj.weight"] = (rows, WIDTH)
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def write_gguf(path, weights, kind):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_context_length(32)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(WIDTH)
    writer.add_head_count(2)
    writer.add_head_count_kv(1)
    writer.add_layer_norm_rms_eps(1e-6)
    spaced = {"gpt2": "Ġ", "llama": "▁"}[kind]
    tokens = ["<unk>", "<s>", "</s>", spaced, "a", "b", "c", "ab", "abc", spaced + "a", "<0x0A>", "d", "e", "f", "g", "h"]
    writer.add_tokenizer_model(kind)
    writer.add_token_list(tokens)
    writer.add_token_types([2, 3, 3, 1, 1, 1, 1, 1, 1, 4, 6, 1, 1, 1, 1, 5])
    if kind == "gpt2":
        writer.add_tokenizer_pre("qwen2")
        writer.add_token_merges(["a b", "ab c"])
    else:
        writer.add_token_scores([-float(i) for i in range(VOCAB)])
        writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template("{{ bos_token }}{% for m in messages %}{{ m.content | trim }}{% endfor %}")
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 1)
    for name, weight in weights.items():
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight",)), weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def bpe():
    vocab = {token: i for i, token in enumerate(["<s>", "a", "b", "c", "ab", "abc", "Ġ", "Ġa"])}
    tokenizer = Tokenizer(models.BPE(vocab, [("a", "b"), ("ab", "c"), ("Ġ", "a")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    tokenizer.add_special_tokens([AddedToken("<s>")])
    return tokenizer


def unigram():
    tokenizer = Tokenizer(models.Unigram([("<unk>", 0.0), ("▁", -1.0), ("a", -2.0), ("▁a", -2.5)], 0, True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(" ", "▁")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    return tokenizer


weights = tensors()
os.makedirs(at("model"), exist_ok=True)
save_file(weights, at("model", "model.safetensors"))
with open(at("model", "config.json"), "w", encoding="utf-8") as file:
    json.dump(CONFIG, file, indent=1)
    file.write("\n")
shutil.copy(at("model", "model.safetensors"), at("corpus", "safetensors", "seed"))
shutil.copy(at("model", "config.json"), at("corpus", "config", "seed"))
newer = {key: value for key, value in CONFIG.items() if key != "rope_theta"}
newer["rope_parameters"] = {"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0, "low_freq_factor": 1.0,
                            "high_freq_factor": 4.0, "original_max_position_embeddings": 16}
with open(at("corpus", "config", "seed-newer"), "w", encoding="utf-8") as file:
    json.dump(newer, file)
for kind in ("gpt2", "llama"):
    write_gguf(at("corpus", "gguf", f"seed-{kind}"), weights, kind)
bpe().save(at("corpus", "tokenizer", "seed-bpe"))
unigram().save(at("corpus", "tokenizer", "seed-unigram"))
