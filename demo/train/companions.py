"""What is shipped beside the model: contrasting pairs, prompts for each behaviour, held-out stories, a corpus of short texts."""

import json
import random
from pathlib import Path

from tokenizers import Tokenizer

import data
import tasks
import tokens
from lexicon import CLAUSES, GROUPS, NAMES, PLACES, POWER, ROLES, TAILS, WEAK


def power_pairs(tokenizer: Tokenizer, n: int = 50) -> list[tuple[str, str, str]]:
    """(name, power, no_power): one sentence with two verb phrases of equally many tokens, so that the prompts align."""
    r, out = random.Random("power pairs"), []
    length = lambda text: len(tokenizer.encode(text).ids)
    frames = ["{n}, the {r}, {v} {t}.", "{n} {v} {t}.", "{n} {v} {c}.", "{n} came to the {p} and {v}."]
    while len(out) < n:
        parts = dict(n=r.choice(NAMES), r=r.choice(ROLES), t=r.choice(TAILS), p=r.choice(PLACES), c=r.choice(CLAUSES))
        frame, group = r.choice(frames), r.choice(GROUPS)
        strong, weak = (frame.format(v=r.choice(verbs).format(group), **parts) for verbs in (POWER, WEAK))
        if length(strong) == length(weak):
            out.append((parts["n"], strong, weak))
    return out


def prompts(tokenizer: Tokenizer, n: int = 100) -> list[dict[str, str]]:
    """Held-out prompts of every behaviour, with the answer."""
    pool = tokens.words_with_blank(tokenizer)
    out = []
    for name in tasks.BEHAVIOURS:
        r, seen = random.Random(f"prompts {name}"), set()
        for _ in range(4 * n):
            prompt, answer = tasks.example(r, name, True, pool)
            if prompt not in seen and len(seen) < n:
                seen.add(prompt)
                out.append({"behaviour": name, "prompt": prompt, "answer": answer.removesuffix("<|im_end|>")})
    return out


def corpus(stories: list[str], n: int = 2000) -> list[dict[str, str]]:
    """Short texts with a label: sentences about entities and deeds, and openings of held-out stories."""
    r, out, seen = random.Random("corpus"), [], set()
    while len(out) < n:
        label = r.choice(["country", "animal", "power", "no_power", "numbers", "people", "story"])
        if label in ("country", "animal"):
            relation, entity, value = r.choice([f for f in tasks.FACTS if (f[0] == "class") == (label == "animal")])
            template = r.choice(tasks.RELATIONS[relation])
            text = f"{tasks.fact_prompt(template, entity)} {tasks.fact_answer(template, value)}."
        elif label in ("power", "no_power"):
            text = tasks.power_sentence(r, r.choice(POWER if label == "power" else WEAK))[1]
        elif label == "numbers":
            text = "".join(r.choice([tasks.counting, tasks.nearer, tasks.percent_statement])(r)).rstrip(",")
        elif label == "people":
            text = "".join(tasks.ioi(r, True))
        else:
            text = ". ".join(r.choice(stories).replace("\n", " ").split(". ")[:2]).rstrip(".") + "."
        if text not in seen and len(text) < 200:
            seen.add(text)
            out.append({"text": text, "label": label})
    return out


def write(folder: Path, stories: Path) -> None:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    rows = ["\t".join(row) for row in [("name", "power", "no_power"), *power_pairs(tokenizer)]]
    (folder / "power_pairs.tsv").write_text("\n".join(rows) + "\n")
    held = data.read_stories(stories)[0]
    (folder / "held_out_stories.txt").write_text("".join(f"{text}\n<|end|>\n" for text in held[:300]))
    for name, lines in [("prompts.jsonl", prompts(tokenizer)), ("corpus.jsonl", corpus(held[300:]))]:
        (folder / name).write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
