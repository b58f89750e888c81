"""Scores on tensors: the value of a score expression on a block of pairs, and its derivatives."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any

import sympy
import torch
from torch import Tensor

from attncc.ir.comparisons import Compared, Joined, Negation
from attncc.ir.evaluate import evaluate, evaluate_predicate
from attncc.ir.functions import (
    AsReal,
    Choice,
    ConditionSymbol,
    Cosine,
    ErrorFunction,
    Larger,
    Logarithm,
    Lookup,
    Magnitude,
    Root,
    Sign,
    Sine,
    Smaller,
)
from attncc.ir.score import ScoreExpression
from attncc.ir.symbols import SCORE

#: Symbols as integers or int64 tensors that broadcast against the block.
Positions = Mapping[sympy.Symbol, Any]

_UNARY: dict[type, Callable[[Tensor], Tensor]] = {
    sympy.exp: torch.exp,
    sympy.tanh: torch.tanh,
    Logarithm: torch.log,
    Root: torch.sqrt,
    Magnitude: torch.abs,
    Sign: torch.sign,
    Sine: torch.sin,
    Cosine: torch.cos,
    ErrorFunction: torch.erf,
    Negation: torch.logical_not,
}


class Evaluation:
    """Values of real expressions at `positions`, each subexpression computed once.

    `scores` is what the symbol `score` stands for; `weights` are tensors by slot, read in `dtype`. With `live`, a bool
    tensor in the block's shape, autograd may go through the values: where it is False, or another branch of a choice is
    taken, nothing depends on scores and weights. So a derivative that isn't finite there can't spoil the others.
    """

    def __init__(
        self,
        positions: Positions,
        weights: Sequence[Tensor],
        dtype: torch.dtype,
        device: torch.device,
        scores: Tensor | None = None,
        live: Tensor | None = None,
    ) -> None:
        self._positions = positions
        self._weights = weights
        self._dtype = dtype
        self._device = device
        self._scores = scores
        self._live = live
        self._values: dict[sympy.Expr, Tensor] = {} if scores is None else {SCORE: self._stopped(scores)}
        self._places: dict[Lookup, Tensor] = {}

    def __call__(self, expr: sympy.Expr) -> Tensor:
        """Return the value: a tensor that broadcasts against the block."""
        if expr not in self._values:
            self._values[expr] = self._computed(expr)
        return self._values[expr]

    def place(self, lookup: Lookup) -> Tensor:
        """Return the index of a look-up into the flattened weights, clipped to them, int64."""
        if lookup not in self._places:
            place = torch.zeros((), dtype=torch.int64, device=self._device)
            for index, size in zip(lookup.indices, lookup.weights.shape, strict=True):
                inside = torch.as_tensor(evaluate(index, self._positions), device=self._device).clamp(0, size - 1)
                place = place * size + inside
            self._places[lookup] = place
        return self._places[lookup]

    def _computed(self, expr: sympy.Expr) -> Tensor:
        match expr:
            case sympy.Expr(is_number=True):
                return self._tensor(float(expr))
            case sympy.Add():
                return reduce(torch.add, map(self, expr.args))
            case sympy.Mul():
                return reduce(torch.mul, map(self, expr.args))
            case sympy.Pow():
                return self(expr.base) ** int(expr.exp)
            case AsReal():
                return self._tensor(evaluate(expr.args[0], self._positions))
            case Smaller() | Larger():
                extremum = torch.minimum if isinstance(expr, Smaller) else torch.maximum
                return extremum(self(expr.args[0]), self(expr.args[1]))
            case Choice():
                condition, yes, no = expr.args
                holds = self(condition)
                return torch.where(holds, self._where(holds)(yes), self._where(~holds)(no))
            case ConditionSymbol():
                return torch.as_tensor(evaluate_predicate(expr.predicate, self._positions), device=self._device)
            case Compared() | Joined():
                joined: Tensor = reduce(type(expr).function, map(self, expr.args))
                return joined
            case Lookup():
                flat = self._weights[expr.weights.slot].to(self._dtype).reshape(-1)
                return self._stopped(flat[self.place(expr)])
        if type(expr) not in _UNARY:
            raise TypeError(f"no evaluation rule for {type(expr).__name__}")
        return _UNARY[type(expr)](self(expr.args[0]))

    def _where(self, holds: Tensor) -> Evaluation:
        """Return the evaluation of a branch that counts where `holds` is True."""
        if self._live is None:
            return self
        live = self._live & holds
        return Evaluation(self._positions, self._weights, self._dtype, self._device, self._scores, live)

    def _stopped(self, x: Tensor) -> Tensor:
        """Return x without its derivative where nothing shall depend on it."""
        return x if self._live is None else torch.where(self._live, x, x.detach())

    def _tensor(self, value: Any) -> Tensor:
        return torch.as_tensor(value, dtype=self._dtype, device=self._device)


class ScoredBlock:
    """A score on a block of pairs, whose scaled scores are `scores`; see Evaluation for the rest."""

    def __init__(self, score: ScoreExpression, scores: Tensor, positions: Positions, weights: Sequence[Tensor]) -> None:
        self._score = score
        self._shape = scores.shape
        self._given = positions, weights, scores.dtype, scores.device, scores
        self._values = Evaluation(*self._given)

    def value(self) -> Tensor:
        """Return what takes the place of the scores, in their shape."""
        return self._values(self._score.expr).expand(self._shape)

    def differentiable(self, connected: Tensor) -> Tensor:
        """Return what `value` does, as torch's own operations from scores and weights, whose derivatives of any order
        are right; -inf, and nothing depends on it, where a pair isn't `connected`."""
        live = connected & (self.value().detach() != -math.inf)
        expr = self._score.expr
        found = Evaluation(*self._given, live=live)(expr).expand(self._shape)
        return found.masked_fill(~live, -math.inf)

    def by_score(self, ds: Tensor, final: Tensor) -> Tensor:
        """Return the gradient of the scaled scores, given that of the `final` ones, ds; 0 where a final one is -inf."""
        return self._chained(self._score.derivative, ds, final)

    def add_by_weights(self, sums: Sequence[Tensor], ds: Tensor, final: Tensor) -> None:
        """Add the gradients by the weights to `sums`, contiguous tensors by slot."""
        for lookup, derivative in self._score.gradients:
            place = self._values.place(lookup)
            parts = self._chained(derivative, ds, final).sum_to_size(_padded(place.shape, ds.ndim))
            flat = sums[lookup.weights.slot].view(-1)
            flat.index_add_(0, place.reshape(-1), parts.reshape(-1).to(flat.dtype))

    def _chained(self, derivative: sympy.Expr, ds: Tensor, final: Tensor) -> Tensor:
        if derivative == 1:
            return ds
        chained = ds * self._values(derivative)
        # Where the score is -inf, or there is no pair, the derivative may be anything.
        return chained if derivative.is_number else chained.masked_fill(final == -math.inf, 0.0)


def _padded(shape: torch.Size, ndim: int) -> tuple[int, ...]:
    return (1,) * (ndim - len(shape)) + tuple(shape)
