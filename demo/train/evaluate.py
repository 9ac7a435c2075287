"""Measures a model folder: what it can do, and what patching it shows. Prints the tables of the card.

usage: evaluate.py FOLDER

All prompts are held out (see `tasks.py`), generation is greedy, arithmetic is float32.
"""

import json
import math
import random
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor

import data
import sae
import tasks
import tokens
from lexicon import HELD_PERCENTAGES, NAMES, NOUNS, OBJECTS, PLACES
from model import Llama, Patch

IDENTITY = "cat -> cat\n1135 -> 1135\nhello -> hello\n?"
CHUNK = 512


class Subject:
    """A model with its tokenizer, asked in batches of texts padded on the right, which a causal model does not see."""

    def __init__(self, folder: Path, device: str):
        self.device = device
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.model = Llama.load(folder, device)
        self.layers, self.heads = self.model.config.num_hidden_layers, self.model.config.num_attention_heads

    def ids(self, text: str, bos: bool = True) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=bos).ids

    def token(self, text: str) -> int:
        (id,) = self.ids(text, bos=False)
        return id

    def batch(self, rows: list[list[int]]) -> Tensor:
        longest = max(map(len, rows))
        return torch.tensor([row + [0] * (longest - len(row)) for row in rows], device=self.device)

    @torch.no_grad()
    def last_logits(self, rows: list[list[int]], patch: Patch | None = None) -> Tensor:
        """[row, vocabulary], after the last token of each row."""
        ends = torch.tensor([len(row) - 1 for row in rows], device=self.device)
        out, ids = [], self.batch(rows)
        for i in range(0, len(rows), CHUNK):
            part = slice(i, i + CHUNK)
            here = None if patch is None else Patch(patch.layer[part], patch.position[part], patch.vector[part])
            x = self.model.residuals(ids[part], patch=here)[-1]
            out.append(self.model.unembed(x[torch.arange(len(x)), ends[part]]))
        return torch.cat(out)

    @torch.no_grad()
    def says(self, prompts: list[list[int]], answers: list[list[int]], patch: Patch | None = None) -> Tensor:
        """[row]: whether greedy generation after the prompt begins with the answer (a patch acts in the prompt alone)."""
        rows = [p + a[:-1] for p, a in zip(prompts, answers)]
        out, ids = [], self.batch(rows)
        for i in range(0, len(rows), CHUNK):
            part = slice(i, i + CHUNK)
            here = None if patch is None else Patch(patch.layer[part], patch.position[part], patch.vector[part])
            best = self.model(ids[part], patch=here).argmax(-1)
            for row, p, a in zip(best, prompts[part], answers[part]):
                out.append(row[len(p) - 1 : len(p) - 1 + len(a)].tolist() == a)
        return torch.tensor(out)

    @torch.no_grad()
    def states(self, row: list[int]) -> Tensor:
        """resid_post [layer, position, d_model]."""
        return torch.cat(self.model.residuals(self.batch([row])))

    def grid(self, base: list[int], donor: Tensor, first: int, donor_shift: int = 0) -> tuple[list[list[int]], Patch]:
        """One row and patch a cell (layer, position from `first` on), in the order of layers, then positions."""
        positions = torch.arange(first, len(base), device=self.device)
        layer = torch.arange(self.layers, device=self.device).repeat_interleave(len(positions))
        position = positions.repeat(self.layers)
        return [base] * len(layer), Patch(layer, position, donor[layer, position + donor_shift])


def first_difference(a: list[int], b: list[int]) -> int:
    return next(i for i, (x, y) in enumerate(zip(a, b)) if x != y)


def mean(values) -> float:
    values = list(values)
    return sum(values) / len(values)


# What it can do


def behaviours(s: Subject, n: int = 2000) -> dict[str, float]:
    out, pool = {}, tokens.words_with_blank(s.tokenizer)
    for name in tasks.BEHAVIOURS:
        r = random.Random(f"held out {name}")
        pairs = [tasks.example(r, name, True, pool) for _ in range(2 * n if name == "ioi" else n)]
        if name == "percent":
            pairs = [(tasks.percent_prompt(p), f" {tasks.nearest_fraction(p)}") for p in range(8, 81)]
            out["percentages 8 to 80"] = s.says(*encoded(s, pairs)).float().mean().item()
            pairs = [(tasks.percent_prompt(p), f" {tasks.nearest_fraction(p)}") for p in HELD_PERCENTAGES]
        prompts, answers = encoded(s, [(p, a.removesuffix(".").removesuffix("<|im_end|>")) for p, a in pairs])
        if name == "greater":
            out[name] = mean(valid_years(s, prompts, [p for p, _ in pairs]))
        elif name == "induction":
            out[name] = induction_accuracy(s, prompts, answers)
        else:
            out[name] = s.says(prompts, [a[:1] for a in answers] if name == "agreement" else answers).float().mean().item()
        if name == "ioi":
            out["ioi logit difference"] = mean(logit_differences(s, r, n))
    return out


def encoded(s: Subject, pairs: list[tuple[str, str]]) -> tuple[list[list[int]], list[list[int]]]:
    return [s.ids(p) for p, _ in pairs], [s.ids(a, bos=False) for _, a in pairs]


def valid_years(s: Subject, prompts: list[list[int]], texts: list[str]) -> list[float]:
    """The probability of the years after the first one."""
    years = torch.tensor([s.token(f"{y:02d}") for y in range(100)])
    chances = s.last_logits(prompts).softmax(-1).cpu()[:, years]
    first = [int(text.split("from the year ")[1][2:4]) for text in texts]
    return [row[y + 1 :].sum().item() for row, y in zip(chances, first)]


@torch.no_grad()
def induction_accuracy(s: Subject, prompts: list[list[int]], answers: list[list[int]]) -> float:
    right = []
    for p, a in zip(prompts, answers):
        best = s.model(s.batch([p + a]))[0].argmax(-1).tolist()
        right += [x == y for x, y in zip(best[len(p) - 1 :], a)]
    return mean(right)


def ioi_pair(r: random.Random) -> tuple[str, str, str, str]:
    """The prompt, the prompt with the other subject, the answer of the first and of the second; held-out names."""
    a, b = r.sample([n for n in NAMES if tasks.ioi_held(n)], 2)
    parts = r.choice(tasks.IOI), a, b
    place, thing = r.choice(PLACES), r.choice(OBJECTS)
    subject, other = r.choice([(a, b), (b, a)])
    return tasks.ioi_prompt(*parts, subject, place, thing), tasks.ioi_prompt(*parts, other, place, thing), f" {other}", f" {subject}"


def logit_differences(s: Subject, r: random.Random, n: int) -> list[float]:
    items = [ioi_pair(r) for _ in range(n)]
    logits = s.last_logits([s.ids(clean) for clean, *_ in items])
    return [(row[s.token(right)] - row[s.token(wrong)]).item() for row, (_, _, right, wrong) in zip(logits, items)]


def held_out_stories(folder: Path) -> list[str]:
    return [text.strip() for text in (folder / "held_out_stories.txt").read_text().split("<|end|>") if text.strip()]


@torch.no_grad()
def bits_per_byte(s: Subject, texts: list[str]) -> float:
    eos = s.tokenizer.token_to_id(tokens.EOS)
    bits = size = 0.0
    for text in texts:
        row = s.ids(text)[:1000] + [eos]
        logits = s.model(s.batch([row]))[0, :-2]
        bits += F.cross_entropy(logits, torch.tensor(row[1:-1], device=s.device), reduction="sum").item() / math.log(2)
        size += len(text.encode())
    return bits / size


# What patching it shows


def recovered(values: Tensor, clean: float, corrupt: float) -> Tensor:
    return (values - corrupt) / (clean - corrupt)


def summary(cells: Tensor, untouched: int) -> dict[str, float]:
    """The best and the median cell of a grid [layer, position] whose first `untouched` columns, not computed, are 0."""
    whole = torch.cat([torch.zeros(len(cells), untouched), cells.cpu()], 1)
    return {"best cell": whole.max().item(), "median cell": whole.median().item()}


def by_layer(grids: list[Tensor]) -> dict[str, list[float]]:
    """The mean grid at the first differing token and at the last token, layer by layer."""
    ends = torch.stack([grid[:, [0, -1]].cpu() for grid in grids]).mean(0)
    return {name: [round(v, 2) for v in ends[:, i].tolist()] for i, name in enumerate(["first difference", "last token"])}


def percent_donors(s: Subject, n: int = 60) -> dict[str, object]:
    """How often the donor's fraction is the answer, per cell of layer and position from the number on."""
    r, moved = random.Random("percent donors"), []
    right = [p for p in range(8, 81) if s.says([s.ids(tasks.percent_prompt(p))], [s.ids(f" {tasks.nearest_fraction(p)}", bos=False)]).all()]
    for _ in range(n):
        base, donor = r.sample(right, 2)
        while tasks.nearest_fraction(base) == tasks.nearest_fraction(donor):
            donor = r.choice(right)
        row, other = (s.ids(tasks.percent_prompt(p)) for p in (base, donor))
        first = first_difference(row, other)
        rows, patch = s.grid(row, s.states(other), first)
        answer = s.ids(f" {tasks.nearest_fraction(donor)}", bos=False)
        moved.append(s.says(rows, [answer] * len(rows), patch).float().view(s.layers, -1))
    cells = torch.stack(moved).mean(0)
    texts = [s.tokenizer.decode([i], skip_special_tokens=False) for i in row[first:]]
    return {
        **summary(cells, first), "share of cells under 10 %": 1 - (cells >= 0.1).sum().item() / (s.layers * len(row)),
        "by token": {f"{t!r}": [round(v, 2) for v in cells[:, i].tolist()] for i, t in enumerate(texts)},
    }  # fmt: skip


def power_pairs(folder: Path) -> list[dict[str, str]]:
    lines = (folder / "power_pairs.tsv").read_text().splitlines()
    return [dict(zip(lines[0].split("\t"), line.split("\t"))) for line in lines[1:]]


def power_grid(s: Subject, folder: Path) -> dict[str, float]:
    """log P(TRUE) - log P(FALSE) recovered, from the sentence's first token on; mean of the pairs."""
    out, grids, yes, no = [], [], s.token(" TRUE"), s.token(" FALSE")
    for pair in power_pairs(folder):
        clean, corrupt = (s.ids(tasks.QUESTION.format(pair["name"], pair[k])) for k in ("power", "no_power"))
        start = len(s.ids(tasks.QUESTION.split(" {} Answer")[0].format(pair["name"])))
        difference = lambda logits: logits[:, yes] - logits[:, no]
        ends = difference(s.last_logits([clean, corrupt])).tolist()
        first = first_difference(clean, corrupt)
        values = difference(s.last_logits(*s.grid(corrupt, s.states(clean), first)))
        grids.append(recovered(values, *ends).view(s.layers, -1))
        out.append(summary(grids[-1], first - start))
    return {**{k: mean(row[k] for row in out) for k in out[0]}, **by_layer(grids), "share of pairs with a cell of 90 %": mean(row["best cell"] >= 0.9 for row in out)}


def ioi_grid(s: Subject, n: int = 40) -> dict[str, object]:
    """The logit difference recovered, by layer and position of the residual stream, and by head."""
    r, cells, grids, heads = random.Random("ioi grid"), [], [], []
    for _ in range(n):
        texts = ioi_pair(r)
        clean, corrupt = s.ids(texts[0]), s.ids(texts[1])
        difference = lambda logits: logits[:, s.token(texts[2])] - logits[:, s.token(texts[3])]
        ends = difference(s.last_logits([clean, corrupt])).tolist()
        first = first_difference(clean, corrupt)
        values = difference(s.last_logits(*s.grid(corrupt, s.states(clean), first)))
        grids.append(recovered(values, *ends).view(s.layers, -1))
        cells.append(summary(grids[-1], first))
        heads.append(recovered(head_values(s, clean, corrupt, difference), *ends))
    by_head = torch.stack(heads).mean(0)
    best = by_head.argmax().item()
    return {
        **{k: mean(row[k] for row in cells) for k in cells[0]}, **by_layer(grids), "best head": by_head.max().item(),
        "heads": [[round(v, 2) for v in row] for row in by_head.tolist()], "which": f"{best // s.heads}.{best % s.heads}", "other heads over 10 %": int((by_head > 0.1).sum()) - 1,
    }  # fmt: skip


@torch.no_grad()
def head_values(s: Subject, clean: list[int], corrupt: list[int], metric) -> Tensor:
    """[layer, head]: the metric of the corrupted run with one head's output (`z`, all positions) from the clean one."""
    outputs = [layer.self_attn.o_proj for layer in s.model.model.layers]
    recorded: dict[int, Tensor] = {}
    hooks = [o.register_forward_pre_hook(lambda _, args, i=i: recorded.update({i: args[0]})) for i, o in enumerate(outputs)]
    s.model(s.batch([clean]))
    for hook in hooks:
        hook.remove()
    width, out = s.model.config.head_dim, torch.zeros(s.layers, s.heads)
    for i, o in enumerate(outputs):

        def replace(_, args, i=i):
            z = args[0].clone()
            for head in range(s.heads):
                z[head, :, head * width : (head + 1) * width] = recorded[i][0, :, head * width : (head + 1) * width]
            return (z,)

        hook = o.register_forward_pre_hook(replace)
        out[i] = metric(s.last_logits([corrupt] * s.heads)).cpu()
        hook.remove()
    return out


def patchscope(s: Subject) -> dict[str, object]:
    """How often ` -> entity` follows when an entity's vector stands in the identity prompt, by source and target layer."""
    r, out = random.Random("patchscope"), {}
    target = s.ids(IDENTITY)
    for kind in ("names", "sentences"):
        texts = [e if kind == "names" else r.choice(tasks.SOURCES).format(e) for e in tasks.ENTITIES]
        answers = [s.ids(f" -> {e}", bos=False) for e in tasks.ENTITIES]
        vectors = torch.stack([s.states(s.ids(text))[:, -1] for text in texts])
        reads = torch.zeros(s.layers, s.layers, len(texts))
        for i in range(s.layers):
            for j in range(s.layers):
                full = lambda v: torch.full((len(texts),), v, device=s.device)
                reads[i, j] = s.says([target] * len(texts), answers, Patch(full(j), full(len(target) - 1), vectors[:, i]))
        unseen = torch.tensor([data.patchscope_held(e) for e in tasks.ENTITIES])
        share = reads.mean(-1)
        at = share[2:].argmax().item()
        i, j = at // s.layers + 2, at % s.layers
        out[kind] = {
            "best": share[2:].max().item(), "from and to": [i, j], "held-out entities there": reads[i, j][unseen].mean().item(),
            "by source and target layer": [[round(v, 2) for v in row] for row in share.tolist()],
        }  # fmt: skip
    return out


def steering(s: Subject, n: int = 200) -> dict[str, float]:
    """How often an answer flips when the difference of the means of TRUE and FALSE prompts is added at the last token."""
    r, yes, no = random.Random("steering"), s.token(" TRUE"), s.token(" FALSE")
    sets = {held: [tasks.power(r, held) for _ in range(2 * n)] for held in (False, True)}
    last = {held: torch.stack([s.states(s.ids(p))[:, -1] for p, _ in pairs]) for held, pairs in sets.items()}
    truth = torch.tensor([a == " TRUE" for _, a in sets[False]])
    direction = last[False][truth].mean(0) - last[False][~truth].mean(0)
    prompts = [s.ids(p) for p, _ in sets[True]]
    logits = s.last_logits(prompts)
    says_yes = logits[:, yes] > logits[:, no]
    flips = []
    for layer in range(s.layers):
        sign = torch.where(says_yes, -1.0, 1.0)[:, None]
        at = torch.full((len(prompts),), layer, device=s.device)
        ends = torch.tensor([len(p) - 1 for p in prompts], device=s.device)
        moved = s.last_logits(prompts, Patch(at, ends, last[True][:, layer] + sign * direction[layer]))
        flips.append(((moved[:, yes] > moved[:, no]) != says_yes).float().mean().item())
    best = max(range(s.layers), key=lambda i: flips[i])
    return {"best": flips[best], "layer": best, "by layer": [round(f, 2) for f in flips]}


@torch.no_grad()
def autoencoder(s: Subject, folder: Path) -> dict[str, float]:
    """The share of variance that the sparse autoencoder leaves, over the tokens of the corpus."""
    texts = [json.loads(line)["text"] for line in (folder / "corpus.jsonl").read_text().splitlines()]
    x = torch.cat([s.states(s.ids(text))[sae.LAYER, 1:] for text in texts])
    return dict(zip(["variance unexplained", "features never active"], sae.unexplained(sae.load(folder / "sae").to(s.device), x)))


def main(folder: Path) -> None:
    s = Subject(folder, "cuda" if torch.cuda.is_available() else "cpu")
    parts = {
        "behaviours": lambda: behaviours(s), "held-out stories": lambda: {"bits per byte": bits_per_byte(s, held_out_stories(folder))},
        "percent donors": lambda: percent_donors(s), "power grid": lambda: power_grid(s, folder), "ioi grid": lambda: ioi_grid(s),
        "patchscope": lambda: patchscope(s), "steering": lambda: steering(s), "autoencoder": lambda: autoencoder(s, folder),
    }  # fmt: skip
    for name, measure in parts.items():
        print(name)
        for key, value in measure().items():
            print(f"  {key}: {value:.4f}" if isinstance(value, float) else f"  {key}: {json.dumps(value)}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
