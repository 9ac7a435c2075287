"""Texts as rows of tokens: stories, examples of the behaviours, and pairs of prompts for the patching loss."""

import os
import random
from dataclasses import dataclass
from multiprocessing import Pool
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

import tasks
import tokens

ROW = 256
# Per token of a prompt; tokens of answers and stories count 1.
PROMPT_WEIGHT = 0.1


def read_stories(path: Path) -> tuple[list[str], list[str]]:
    """Held out (the first 1,000), and the rest; each text once, in a seeded order."""
    texts = sorted({text.strip() for text in path.read_text().split("<|end|>") if text.strip()})
    random.Random(0).shuffle(texts)
    return texts[:1000], texts[1000:]


@dataclass
class Rows:
    """[row, position]: tokens, the weight of each as a target, and which text it belongs to."""

    ids: np.ndarray
    weights: np.ndarray
    texts: np.ndarray


def pack(documents: list[tuple[list[int], list[float]]]) -> Rows:
    """Rows of `ROW + 1` tokens, filled in the order of the documents; a document longer than a row is cut."""
    rows, row, left = [], [], 0
    for ids, weights in documents:
        if len(ids) > left:
            row, left = [], ROW + 1
            rows.append(row)
        row.append((ids[: ROW + 1], weights[: ROW + 1]))
        left -= len(ids)
    out = Rows(*(np.zeros((len(rows), ROW + 1), dtype) for dtype in (np.int16, np.float16, np.int16)))
    for i, row in enumerate(rows):
        at = 0
        for n, (ids, weights) in enumerate(row):
            place = slice(at, at + len(ids))
            out.ids[i, place], out.weights[i, place], out.texts[i, place] = ids, weights, n + 1
            at += len(ids)
    return out


def join(parts: list[Rows]) -> Rows:
    return Rows(*(np.concatenate([getattr(p, name) for p in parts]) for name in ("ids", "weights", "texts")))


def _examples(job: tuple[str, int, int]) -> Rows:
    """`n` examples of one seed. Most begin with BOS; some with padding before it or without it, as scripts may ask for."""
    tokenizer, seed, n = Tokenizer.from_str(job[0]), *job[1:]
    r, pool = random.Random(seed), tokens.words_with_blank(tokenizer)
    names = r.choices(list(tasks.SHARES), list(tasks.SHARES.values()), k=n)
    pairs = [tasks.example(r, name, False, pool) for name in names]
    pad, bos, eos = (tokenizer.token_to_id(t) for t in (tokens.PAD, tokens.BOS, tokens.EOS))
    prompts = tokenizer.encode_batch([p for p, _ in pairs], add_special_tokens=False)
    wholes = tokenizer.encode_batch([p + a for p, a in pairs], add_special_tokens=False)
    documents = []
    for prompt, whole in zip(prompts, wholes):
        start = r.choices([[bos], [], [pad] * r.randint(1, 8) + [bos]], [90, 5, 5])[0]
        ids = start + whole.ids + [eos]
        asked = len(start) + len(prompt.ids)
        weights = [PROMPT_WEIGHT] * asked + [1.0] * (len(ids) - asked)
        # What nobody can foresee: padding and the first token.
        weights[: len(start)] = [0.0] * len(start)
        documents.append((ids, weights))
    return pack(documents)


def _stories(job: tuple[str, list[str]]) -> Rows:
    tokenizer = Tokenizer.from_str(job[0])
    bos, eos = tokenizer.token_to_id(tokens.BOS), tokenizer.token_to_id(tokens.EOS)
    documents = [[bos, *e.ids, eos] for e in tokenizer.encode_batch(job[1], add_special_tokens=False)]
    return pack([(ids, [0.0] + [1.0] * (len(ids) - 1)) for ids in documents])


def story_rows(tokenizer: Tokenizer, texts: list[str], workers: int) -> Rows:
    jobs = [(tokenizer.to_str(), texts[i : i + 4000]) for i in range(0, len(texts), 4000)]
    with Pool(workers) as pool:
        return join(pool.map(_stories, jobs))


def task_rows(tokenizer: Tokenizer, n: int, workers: int) -> Rows:
    jobs = [(tokenizer.to_str(), seed, min(20000, n - i)) for seed, i in enumerate(range(0, n, 20000))]
    with Pool(workers) as pool:
        return join(pool.map(_examples, jobs))


def same_text(texts: Tensor) -> Tensor:
    """[row, 1, query, key]: whether a token sees another: one text, and not later."""
    length = texts.shape[1]
    return ((texts[:, :, None] == texts[:, None]) & torch.ones(length, length, dtype=torch.bool, device=texts.device).tril())[:, None]


def first_of_text(texts: Tensor) -> Tensor:
    """[row, position]: whether a token is the first one of its text."""
    return torch.cat([torch.ones_like(texts[:, :1], dtype=torch.bool), texts[:, 1:] != texts[:, :-1]], 1)


@dataclass
class PatchPairs:
    """Source prompts that end in an entity, and target prompts with a place for it, padded on the right.

    source, target [n, position]; source_end, place [n]: the entity's last token, and the place; weights [n, position].
    """

    source: np.ndarray
    source_end: np.ndarray
    target: np.ndarray
    place: np.ndarray
    weights: np.ndarray


def patchscope_held(entity: str) -> bool:
    """Entities that the patching loss never sees."""
    return tasks.kept("patchscope", entity, share=0.3)


def source_text(r: random.Random, entity: str) -> str:
    """The entity alone in two of five cases, else a sentence that ends in it."""
    return r.choice([entity, f" {entity}"]) if r.random() < 0.4 else r.choice(tasks.SOURCES).format(entity)


def patch_pair(r: random.Random, entities: list[str], described: list[str]) -> tuple[str, str, str, str]:
    """A source text, and a target text in three parts: up to the place, what is given after it, what shall follow."""
    form = r.random()
    if form < 0.7:
        entity = r.choice(entities if r.random() < 0.5 else described)
        place, given = tasks.identity_shots(r) + r.choice("?x"), r.choice(["", " ->"])
        target = place, given, f" {entity}" if given else f" -> {entity}"
    elif form < 0.9:
        entity = r.choice(described)
        target = tasks.description_shots(r) + "x", "", f": {tasks.DESCRIPTION[entity]}"
    else:
        entity = r.choice(described)
        target = "A detailed description of x", " is that", tasks.in_detail(entity)
    return source_text(r, entity), *target


def _pairs(job: tuple[str, int, int]) -> PatchPairs:
    tokenizer, seed, n = Tokenizer.from_str(job[0]), *job[1:]
    r = random.Random(1_000_000 + seed)
    entities = [e for e in tasks.REPEATABLE if not patchscope_held(e)]
    described = [e for e in tasks.DESCRIPTION if e in tasks.ENTITIES and not patchscope_held(e)]
    sources, places, given, ends = zip(*(patch_pair(r, entities, described) for _ in range(n)))
    source, place = tokenizer.encode_batch(sources), tokenizer.encode_batch(places)
    given, end = (tokenizer.encode_batch(texts, add_special_tokens=False) for texts in (given, ends))
    out = PatchPairs(
        np.zeros((n, 32), np.int16), np.zeros(n, np.int16), np.zeros((n, 96), np.int16), np.zeros(n, np.int16), np.zeros((n, 96), np.float16)
    )
    for i, (s, p, g, e) in enumerate(zip(source, place, given, end)):
        whole = p.ids + g.ids + e.ids
        out.source[i, : len(s.ids)], out.source_end[i] = s.ids, len(s.ids) - 1
        out.target[i, : len(whole)], out.place[i] = whole, len(p.ids) - 1
        out.weights[i, len(whole) - len(e.ids) : len(whole)] = 1.0
    return out


def patch_pairs(tokenizer: Tokenizer, n: int, workers: int) -> PatchPairs:
    jobs = [(tokenizer.to_str(), seed, min(10000, n - i)) for seed, i in enumerate(range(0, n, 10000))]
    with Pool(workers) as pool:
        parts = pool.map(_pairs, jobs)
    return PatchPairs(*(np.concatenate([getattr(p, f) for p in parts]) for f in PatchPairs.__dataclass_fields__))


def workers() -> int:
    return os.cpu_count() or 1
