"""Training one model, and judging it: the mean bits of its targets, and how often its best guess is right."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from attncc.nn import auxiliary_losses

#: (tokens, targets), int64 (B, N); a target of IGNORED doesn't count.
Rows = tuple[Tensor, Tensor]
IGNORED = -100
#: Held-out rows of so many tokens are judged at a time.
JUDGED = 16384


@dataclass(frozen=True)
class Pace:
    """How long and how fast a model is trained: Muon for the blocks' matrices, AdamW for all else."""

    steps: int = 160
    tokens: int = 8192  # of a step, whatever the context: shorter windows come in larger batches
    matrices: float = 0.02  # learning rate of Muon
    rest: float = 3e-3  # of AdamW
    warmup: int = 20


@dataclass(frozen=True)
class Judged:
    """What a model does on held-out rows.

    Attributes:
        bits: The mean of -log2 p(target).
        right: The share of targets that are the best guess.
        by_place: Mean bits of the targets at places [0, 256), [256, 1024), ... of a window: see EDGES.
    """

    bits: float
    right: float
    by_place: list[float]


#: Where the parts of Judged.by_place begin.
EDGES = (0, 256, 1024, 4096)


def trained(model: nn.Module, draw: Callable[[int], Rows], pace: Pace) -> Iterator[float]:
    """Take the optimisers' steps on `draw(step)`; yield the bits of each, measured before its update."""
    optimizers = _optimizers(model, pace)
    for step in range(pace.steps):
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * _factor(step, pace)
        tokens, targets = draw(step)
        with auxiliary_losses(model) as auxiliary:
            loss = cross_entropy(model(tokens).flatten(0, 1), targets.flatten(), ignore_index=IGNORED)
        sum(auxiliary, loss).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        yield loss.item() / math.log(2)


@torch.no_grad()
def judged(model: nn.Module, rows: Rows) -> Judged:
    """Return what a model does on held-out rows."""
    bits, right, places = [], [], []
    for tokens, targets in zip(*(x.split(max(1, JUDGED // x.shape[1])) for x in rows), strict=True):
        logits, counted = model(tokens), targets != IGNORED
        place = torch.arange(targets.shape[1]).expand_as(targets)[counted]
        bits.append(cross_entropy(logits[counted], targets[counted], reduction="none").double() / math.log(2))
        right.append(logits[counted].argmax(-1) == targets[counted])
        places.append(place)
    every, place = torch.cat(bits), torch.cat(places)
    part = torch.bucketize(place, torch.tensor(EDGES), right=True) - 1
    by_place = [every[part == n].mean().item() for n in range(len(EDGES)) if (part == n).any()]
    return Judged(every.mean().item(), torch.cat(right).double().mean().item(), by_place)


def _optimizers(model: nn.Module, pace: Pace) -> list[torch.optim.Optimizer]:
    matrices = [each for each in model.blocks.parameters() if each.ndim == 2]
    chosen = {id(each) for each in matrices}
    rest = [each for each in model.parameters() if id(each) not in chosen]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.Muon(matrices, lr=pace.matrices, weight_decay=0.0),
        torch.optim.AdamW(rest, lr=pace.rest, betas=(0.9, 0.95), weight_decay=0.0),
    ]
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
    return optimizers


def _factor(step: int, pace: Pace) -> float:
    """Rise linearly over the warm-up, then fall along a cosine to a twentieth."""
    if step < pace.warmup:
        return (step + 1) / pace.warmup
    share = (step - pace.warmup) / max(1, pace.steps - pace.warmup)
    return 0.525 + 0.475 * math.cos(math.pi * share)
