"""The tokenizer: byte-level BPE with Llama-3's way of splitting, and the words of the experiments as single tokens.

As in Llama-3, a word that is in the vocabulary is one token whatever the merges say (`ignore_merges`), a blank belongs to the
word after it, and digits stand apart, here in pairs: `1745` is `17`, `45`.
"""

import json
import re
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from lexicon import BARE, DIGITS, ONE_TOKEN

PAD, BOS, EOS, START, END = SPECIAL = ["<|pad|>", "<|bos|>", "<|eos|>", "<|im_start|>", "<|im_end|>"]
SPLIT = r"'(?:s|t|re|ve|m|ll|d)| ?\p{L}+|\p{N}{1,2}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] | trim }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def build(texts: list[str], size: int) -> Tokenizer:
    pre = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(SPLIT), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])  # fmt: skip
    # ByteLevel writes a blank as `Ġ`.
    whole = ["Ġ" + word for word in ONE_TOKEN] + BARE + DIGITS + ["Ġ->", "%", "?", "x", "Ġ?", "Ġx"]

    def train(size: int) -> dict:
        tokenizer = Tokenizer(models.BPE(ignore_merges=True))
        tokenizer.pre_tokenizer, tokenizer.decoder = pre, decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        tokenizer.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=size, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False))
        tokenizer.post_processor = processors.TemplateProcessing(f"{BOS} $A", f"{BOS} $A {BOS} $B", [(BOS, tokenizer.token_to_id(BOS))])
        return json.loads(tokenizer.to_str())

    # Merges fill what the whole words leave; some of the words are made by merges anyway.
    full = train(size)["model"]["vocab"]
    keep = size
    while keep + sum(word not in full or full[word] >= keep for word in whole) > size:
        keep -= 1
    data = train(keep)
    vocab = data["model"]["vocab"]
    for word in whole:
        vocab.setdefault(word, len(vocab))
    return Tokenizer.from_str(json.dumps(data))


def words_with_blank(tokenizer: Tokenizer) -> list[str]:
    """The texts of the tokens that are a blank and a word: what random sequences are made of."""
    texts = {tokenizer.decode([i]) for i in range(tokenizer.get_vocab_size())}
    return sorted(text for text in texts if re.fullmatch(r" [A-Za-z]{2,}", text))


def save(tokenizer: Tokenizer, folder: Path) -> None:
    (folder / "tokenizer.json").write_text(json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False, separators=(",", ":")))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": BOS, "eos_token": EOS, "pad_token": PAD,
        "add_bos_token": True, "clean_up_tokenization_spaces": False, "model_max_length": 1024, "chat_template": CHAT,
    }  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
