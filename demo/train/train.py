"""Trains the model: next tokens of stories and behaviours, and a loss on patched runs."""

import random
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

import data
import tasks
import tokens
from model import Config, Llama, Patch

VOCABULARY = 4096
EXAMPLES, PAIRS = 1_600_000, 200_000
STORY_ROWS, TASK_ROWS, PATCH_ROWS = 144, 368, 256
RATE, WARMUP, DECAY = 3e-3, 200, 0.1
PATCH_WEIGHT = 0.3
# The first layers shall look no further back than this, at the price of so much a query.
WINDOWS, FAR_WEIGHT = [2, 3, 3], 0.1


def rows_of(packed: data.Rows, device: str) -> tuple[Tensor, ...]:
    return tuple(torch.from_numpy(a).to(device) for a in (packed.ids, packed.weights, packed.texts))


def draw(part: tuple[Tensor, ...], n: int) -> tuple[Tensor, ...]:
    chosen = torch.randint(0, len(part[0]), (n,), device=part[0].device)
    return tuple(t[chosen] for t in part)


def weighted(losses: Tensor, weights: Tensor) -> Tensor:
    return (losses * weights).sum() / weights.sum()


def next_token_losses(logits: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction="none").view(targets.shape)


def far_attention(model: Llama, ids: Tensor, texts: Tensor) -> Tensor:
    """The attention that the first layers pay to tokens further back than their window, summed over layers and heads.

    Small models do everything in their first layer if they can. In large ones the first layers look at the neighbours, and
    information moves between distant tokens later, which is what patching shows. The first token of a text, where heads
    rest, is free.
    """
    mask, x, far = data.same_text(texts), model.model.embed_tokens(ids), torch.zeros((), device=ids.device)
    at = torch.arange(ids.shape[1], device=ids.device)
    first = data.first_of_text(texts)[:, None, None]
    for window, layer in zip(WINDOWS, model.model.layers):
        q, k, _ = layer.self_attn.heads(layer.input_layernorm(x))
        k = k.repeat_interleave(q.shape[1] // k.shape[1], 1)
        scores = (q @ k.transpose(-1, -2)).float() / q.shape[-1] ** 0.5
        pattern = scores.masked_fill(~mask, -torch.inf).softmax(-1)
        far = far + (pattern * (at[:, None] - at > window) * ~first).sum((1, 3))[texts > 0].mean()
        x = layer(x, mask)
    return far


def patch_loss(model: Llama, batch: tuple[Tensor, ...]) -> Tensor:
    """The loss of a target prompt's continuation, while its place holds the vector of the source prompt's last token.

    The vector is read after a random layer and written after a random one; half of the time these are the same. The
    gradient goes through both runs.
    """
    source, source_end, target, place, weights = batch
    n, layers = len(source), model.config.num_hidden_layers
    every = torch.arange(n, device=source.device)
    states = torch.stack(model.residuals(source.long()))
    read = torch.randint(0, layers - 1, (n,), device=source.device)
    write = torch.where(torch.rand(n, device=source.device) < 0.5, read, torch.randint(0, layers - 1, (n,), device=source.device))
    write = write.clamp(max=layers - 3)
    patch = Patch(write, place.long(), states[read, every, source_end.long()])
    logits = model(target[:, :-1].long(), patch=patch)
    return weighted(next_token_losses(logits, target[:, 1:].long()), weights[:, 1:].float())


def train(stories: Path, out: Path, steps: int, device: str, seed: int, scale: float = 1.0) -> None:
    """`scale` shrinks the batch and the number of examples, for a trial on a CPU."""
    out.mkdir(parents=True, exist_ok=True)
    start = time.time()
    torch.manual_seed(seed)
    torch.set_float32_matmul_precision("high")
    workers = data.workers()
    _, texts = data.read_stories(stories)
    texts = texts[: int(len(texts) * min(1.0, 5 * scale))]
    r = random.Random(0)
    names = r.choices(list(tasks.SHARES), list(tasks.SHARES.values()), k=15000)
    examples = ["".join(tasks.example(r, name, False, [" the"])) for name in names]
    tokenizer = tokens.build(texts[:20000] + examples, VOCABULARY)
    tokens.save(tokenizer, out)
    ids = {role: tokenizer.token_to_id(t) for role, t in [("bos", tokens.BOS), ("eos", tokens.EOS), ("pad", tokens.PAD)]}
    ends = [ids["eos"], tokenizer.token_to_id(tokens.END)]

    story = rows_of(data.story_rows(tokenizer, texts, workers), device)
    task = rows_of(data.task_rows(tokenizer, int(EXAMPLES * scale), workers), device)
    packed = data.patch_pairs(tokenizer, int(PAIRS * scale), workers)
    longest = int(packed.weights.any(0).nonzero()[0].max()) + 1, int(packed.source_end.max()) + 1
    pairs = tuple(torch.from_numpy(a).to(device) for a in (packed.source[:, : longest[1]], packed.source_end, packed.target[:, : longest[0]], packed.place, packed.weights[:, : longest[0]]))
    for name, part in [("stories", story), ("behaviours", task)]:
        print(f"{name}: {len(part[0])} rows, {(part[2] > 0).sum().item() / 1e6:.1f} M tokens, {time.time() - start:.0f} s", flush=True)

    model = Llama(Config(tokenizer.get_vocab_size())).to(device)
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters", flush=True)
    if device == "cuda":
        for layer in model.model.layers:
            layer.compile(dynamic=False)
    matrices = [p for p in model.parameters() if p.dim() == 2]
    vectors = [p for p in model.parameters() if p.dim() == 1]
    groups = [{"params": matrices, "weight_decay": DECAY}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.95), fused=device == "cuda")
    rows, start = [max(2, int(n * scale)) for n in (STORY_ROWS, TASK_ROWS, PATCH_ROWS)], time.time()
    for step in range(steps):
        # Warm-up, then down to nothing in a straight line.
        rate = RATE * min((step + 1) / WARMUP, 1 - step / steps)
        for group in optimizer.param_groups:
            group["lr"] = rate
        batch, weights, of = (torch.cat(parts) for parts in zip(draw(story, rows[0]), draw(task, rows[1])))
        batch = batch.long()
        with torch.autocast(device, torch.bfloat16):
            losses = next_token_losses(model(batch[:, :-1], data.same_text(of[:, :-1])), batch[:, 1:])
            # A text's first token is not to be guessed from the text before it.
            loss = weighted(losses, weights[:, 1:].float() * (of[:, 1:] == of[:, :-1]))
            patched = patch_loss(model, draw(pairs, rows[2]))
            far = far_attention(model, batch[::12, :-1], of[::12, :-1])
        optimizer.zero_grad()
        (loss + PATCH_WEIGHT * patched + FAR_WEIGHT * far).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 200 == 0 or step == steps - 1:
            stories_only = weighted(losses[: rows[0]], weights[: rows[0], 1:].float())
            print(f"step {step}: loss {loss.item():.3f}, stories {stories_only.item():.3f}, patched {patched.item():.3f}, far {far.item():.3f}, {time.time() - start:.0f} s", flush=True)
    model.save(out, ids, ends)
