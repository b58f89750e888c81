"""Training one model, and judging it: the mean bits of its targets, and how often its best guess is right."""

from __future__ import annotations

import math
from collections.abc import Mapping
from copy import deepcopy
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
class Part:
    """A part of a training: its steps, and the tokens of each, in windows of so many tokens."""

    steps: int
    tokens: int
    window: int


@dataclass(frozen=True)
class Pace:
    """How long and how fast a model is trained: Muon for the blocks' matrices, AdamW for all else.

    The models of all contexts share the first parts, whose windows grow. In the last part, windows are cut to a model's
    own context. So every context sees the same tokens in the same order.
    """

    shared: tuple[Part, ...]
    last: Part
    matrices: float = 0.02  # learning rate of Muon
    rest: float = 3e-3  # of AdamW
    warmup: int = 20

    @property
    def steps(self) -> int:
        """Steps of all parts."""
        return sum(part.steps for part in (*self.shared, self.last))

    def factor(self, step: int) -> float:
        """Return what rates are multiplied by: they rise, then fall with the tokens that are left."""
        tokens = [part.tokens for part in (*self.shared, self.last) for _ in range(part.steps)]
        return min(1.0, (step + 1) / self.warmup) * sum(tokens[step:]) / sum(tokens)


@dataclass(frozen=True)
class Judged:
    """What a model does on held-out rows.

    Attributes:
        bits: The mean of -log2 p(target).
        right: The share of targets that are the best guess.
    """

    bits: float
    right: float


class Learner:
    """A model in training: its optimisers, how many steps they have taken, and the generator of its rows.

    Attributes:
        models: The model for windows of each context; all share their parameters.
        draw: Tells which rows come next.
        bits: The bits of each step so far, measured before its update.
    """

    def __init__(self, models: Mapping[int, nn.Module], pace: Pace, seed: int) -> None:
        self.models, self.pace, self.bits = models, pace, list[float]()
        self.draw = torch.Generator().manual_seed(seed)  # the same rows for every family
        self._any = next(iter(models.values()))
        self._optimizers = _optimizers(self._any, pace)

    def step(self, rows: Rows) -> float:
        """Take one step on rows of any context, and return its bits."""
        factor = self.pace.factor(len(self.bits))
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = factor * group["initial_lr"]
        tokens, targets = rows
        model = self.models[tokens.shape[1]]
        with auxiliary_losses(model) as auxiliary:
            loss = cross_entropy(model(tokens).flatten(0, 1), targets.flatten(), ignore_index=IGNORED)
        sum(auxiliary, loss).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in self._optimizers:
            optimizer.step()
            optimizer.zero_grad()
        self.bits.append(loss.item() / math.log(2))
        return self.bits[-1]

    def continued(self, models: Mapping[int, nn.Module]) -> Learner:
        """Return a learner that goes on from here with other models; this one stays as it is."""
        other = Learner(models, self.pace, 0)
        other._any.load_state_dict(self._any.state_dict())
        other.bits = self.bits.copy()
        other.draw.set_state(self.draw.get_state())
        for mine, its in zip(self._optimizers, other._optimizers, strict=True):
            its.load_state_dict(deepcopy(mine.state_dict()))
        return other


@torch.no_grad()
def judged(model: nn.Module, rows: Rows) -> Judged:
    """Return what a model does on held-out rows."""
    bits, right = [], []
    for tokens, targets in zip(*(x.split(max(1, JUDGED // x.shape[1])) for x in rows), strict=True):
        logits, counted = model(tokens), targets != IGNORED
        bits.append(cross_entropy(logits[counted], targets[counted], reduction="none").double() / math.log(2))
        right.append(logits[counted].argmax(-1) == targets[counted])
    return Judged(torch.cat(bits).mean().item(), torch.cat(right).double().mean().item())


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
