"""Hypothesis strategies over the grammar of scores, each with a formula in torch that attncc had no part in.

As in attncc.testing.strategies, an expression is drawn once, as a function of the interpretation of its names. Under
attncc's it builds a score; under torch's it computes one. All drawn expressions are finite for all pairs, but for the
-inf that masks some.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from hypothesis import reject
from hypothesis import strategies as st
from torch import Tensor

from attncc.errors import PatternError
from attncc.frontend import language, real
from attncc.frontend.real import Real, real_of
from attncc.frontend.scores import Score
from attncc.frontend.weights import Weights
from attncc.ir.score import ScoreExpression
from attncc.ir.symbols import SCORE
from attncc.testing.oracle import Formula
from attncc.testing.strategies import SYMBOLIC, Case, Drawn, Interpretation, binary, conditions, expressions

#: Sizes of the dimensions of weights, by number of dimensions.
SHAPES = ((), (1,), (5,), (11,), (3, 8), (2, 3, 4))


@dataclass(frozen=True)
class RealInterpretation:
    """What a drawn real expression is built from."""

    score: Any
    integer: Callable[[Drawn], Any]
    condition: Callable[[Drawn], Any]
    weights: Sequence[Any]
    functions: Any


@dataclass(frozen=True)
class ScoreCase:
    """A score on random weights, and what it must do to the scores of a pattern's case."""

    score: Score
    text: str
    weights: tuple[Tensor, ...] = field(repr=False)
    formula: Formula = field(repr=False)

    def __repr__(self) -> str:
        return f"ScoreCase({self.text}; weights {[tuple(x.shape) for x in self.weights]})"


class _Symbolic:
    """attncc's functions."""

    tanh, exp, log, sqrt = staticmethod(real.tanh), staticmethod(real.exp), staticmethod(real.log), real.sqrt
    sin, cos, erf = staticmethod(real.sin), staticmethod(real.cos), staticmethod(real.erf)
    minimum, maximum, where = language.minimum, language.maximum, staticmethod(language.where)


class _Numeric:
    """torch's functions, on tensors and numbers."""

    tanh, exp, log, sqrt = torch.tanh, torch.exp, torch.log, torch.sqrt
    sin, cos, erf = torch.sin, torch.cos, torch.erf
    minimum, maximum = torch.minimum, torch.maximum

    @staticmethod
    def where(condition: Tensor, yes: Any, no: Any) -> Tensor:
        dtype = next(x.dtype for x in (yes, no) if isinstance(x, Tensor))
        branches = [torch.as_tensor(x, dtype=dtype) for x in (yes, no)]
        return torch.where(condition, branches[0], branches[1])


def _applied(text: str, function: Callable[..., Any], *parts: Drawn) -> Drawn:
    """`function(functions, *values)` of drawn parts; `text` is a format of theirs."""
    return Drawn(text.format(*parts), lambda w: function(w.functions, *(part.build(w) for part in parts)))


_SCORE = Drawn("score", lambda names: names.score)
_SHAPERS: dict[str, Callable[..., Any]] = {
    "tanh({})": lambda f, a: f.tanh(a),
    "exp(tanh({}))": lambda f, a: f.exp(f.tanh(a)),
    "log(1.5 + tanh({}))": lambda f, a: f.log(f.tanh(a) + 1.5),
    "sqrt(1 + abs({}))": lambda f, a: f.sqrt(abs(a) + 1),
    "sin({})": lambda f, a: f.sin(a),
    "cos({})": lambda f, a: f.cos(a),
    "erf({})": lambda f, a: f.erf(a),
    "abs({})": lambda f, a: abs(a),
    "-{}": lambda f, a: -a,
    "({})**2": lambda f, a: a**2,
    "1 / (2 - tanh({}))": lambda f, a: 1 / (2 - f.tanh(a)),
    "(0.75 * {} - 0.3)": lambda f, a: 0.75 * a - 0.3,
}
_JOINERS: dict[str, Callable[..., Any]] = {
    "({} + {})": lambda f, a, b: a + b,
    "({} - {})": lambda f, a, b: a - b,
    "({} * {})": lambda f, a, b: a * b,
    "{} / (1 + ({})**2)": lambda f, a, b: a / (1 + b**2),
    "minimum({}, {})": lambda f, a, b: f.minimum(a, b),
    "maximum({}, {})": lambda f, a, b: f.maximum(a, b),
    # Smooth where the comparison turns, so that it may be rounded to either side.
    "where({0} > 0.37, {1}, {1} + ({0} - 0.37)**2)": lambda f, a, b: f.where(a > 0.37, b, b + (a - 0.37) ** 2),
    "where(~(({0} <= -0.21) | ({1} < 0.58)), {0} + (({0} + 0.21) * ({1} - 0.58))**2, {0})": lambda f, a, b: f.where(
        ~((a <= -0.21) | (b < 0.58)), a + ((a + 0.21) * (b - 0.58)) ** 2, a
    ),
}


@st.composite
def _positions(draw: st.DrawFn, within: range) -> Drawn:
    """Draw an index expression as a number, brought to moderate size."""
    drawn, size = draw(expressions(within, 1)), draw(st.sampled_from([3, 20, 75.5]))
    return Drawn(f"tanh({drawn} / {size})", lambda w: w.functions.tanh(w.integer(drawn) / size))


@st.composite
def _look_ups(draw: st.DrawFn, within: range, shapes: Sequence[tuple[int, ...]]) -> Drawn:
    """Draw a look-up of one of the weights, at indices that stay inside it."""
    slot = draw(st.integers(0, len(shapes) - 1))
    indices = [(draw(expressions(within, 1)), size) for size in shapes[slot]]
    bounded = [binary(index, "%", size) for index, size in indices]

    def build(names: RealInterpretation) -> Any:
        parts = tuple(names.integer(index) for index in bounded)
        return names.weights[slot][parts[0] if len(parts) == 1 else parts]

    return Drawn(f"weights_{slot}[{', '.join(map(str, bounded))}]", build)


@st.composite
def _reals(draw: st.DrawFn, within: range, shapes: Sequence[tuple[int, ...]], depth: int, *, with_score: bool) -> Drawn:
    kinds = ["position"] + ["look-up"] * 2 * bool(shapes) + ["score"] * 2 * with_score
    if depth:
        kinds += ["shape", "join", "join", "where"]
    deeper = _reals(within, shapes, depth - 1, with_score=with_score)
    match draw(st.sampled_from(kinds)):
        case "look-up":
            return draw(_look_ups(within, shapes))
        case "score":
            return _SCORE
        case "shape":
            text = draw(st.sampled_from(list(_SHAPERS)))
            return _applied(text, _SHAPERS[text], draw(deeper))
        case "join":
            text = draw(st.sampled_from(list(_JOINERS)))
            return _applied(text, _JOINERS[text], draw(deeper), draw(deeper))
        case "where":
            condition, yes, no = draw(conditions(within, 1)), draw(deeper), draw(deeper)
            return Drawn(
                f"where({condition}, {yes}, {no})",
                lambda w: w.functions.where(w.condition(condition), yes.build(w), no.build(w)),
            )
    return draw(_positions(within))


@st.composite
def _scores(draw: st.DrawFn, within: range, shapes: Sequence[tuple[int, ...]]) -> Drawn:
    """Draw a bias added to the score, or any expression of it, capped; and sometimes pairs that it masks."""
    depth = draw(st.integers(0, 2))
    if draw(st.booleans()):
        added = draw(_reals(within, shapes, depth, with_score=False))
        drawn = _applied("({} + {})", lambda f, a, b: a + b, _SCORE, added)
    else:
        inner = draw(_reals(within, shapes, depth + 1, with_score=True))
        drawn = _applied("9 * tanh({} / 9)", lambda f, a: 9 * f.tanh(a / 9), inner)
    if draw(st.integers(0, 3)) == 0:
        condition = draw(conditions(within, 1))
        return Drawn(
            f"where({condition}, {drawn}, -inf)",
            lambda w: w.functions.where(w.condition(condition), drawn.build(w), -math.inf),
        )
    return drawn


@st.composite
def score_cases(draw: st.DrawFn, case: Case, heads: int) -> ScoreCase:
    """Draw a score for a pattern's case with `heads` query heads."""
    within = case.positions
    shapes = draw(st.lists(st.sampled_from(SHAPES), max_size=2))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    weights = tuple(torch.from_numpy(np.asarray(rng.normal(size=shape))) for shape in shapes)
    if weights and draw(st.integers(0, 3)) == 0:
        weights[0].view(-1)[0] = -math.inf
        masking = draw(_look_ups(within, shapes[:1]))
        drawn = draw(_scores(within, shapes[1:]) if len(shapes) > 1 else st.just(_SCORE))
        drawn = _applied("({} + {})", lambda f, a, b: a + b, _shifted(drawn), masking)
    else:
        drawn = draw(_scores(within, shapes))
    return ScoreCase(_symbolic(drawn, weights), str(drawn), weights, _formula(drawn, case.names(heads)))


def _shifted(drawn: Drawn) -> Drawn:
    """An expression of all weights but the first."""
    return Drawn(
        f"[from slot 1: {drawn}]",
        lambda w: drawn.build(RealInterpretation(w.score, w.integer, w.condition, w.weights[1:], w.functions)),
    )


def _symbolic(drawn: Drawn, tensors: Sequence[Tensor]) -> Score:
    named = {f"weights_{slot}": x for slot, x in enumerate(tensors)}
    weights = tuple(Weights(tuple(x.shape), name, slot) for slot, (name, x) in enumerate(named.items()))
    build = operator.methodcaller("build", SYMBOLIC)
    try:
        made = drawn.build(RealInterpretation(Real(SCORE), build, build, weights, _Symbolic))
        return Score.of(ScoreExpression(real_of(made)), named, "drawn")
    except PatternError as error:
        if "cases" in error.problem:  # a nest of `where` that attncc refuses
            reject()
        raise


def _formula(drawn: Drawn, names: Interpretation) -> Formula:
    def formula(scores: Tensor, weights: Sequence[Tensor]) -> Tensor:
        def integer(index: Drawn) -> Any:
            return _Converted(torch.as_tensor(np.asarray(index.build(names))), scores.dtype)

        def condition(drawn: Drawn) -> Tensor:
            return torch.as_tensor(np.asarray(drawn.build(names)))

        readable = [_Readable(x) for x in weights]
        value = drawn.build(RealInterpretation(scores, integer, condition, readable, _Numeric))
        return torch.as_tensor(value).expand_as(scores)

    return formula


@dataclass(frozen=True)
class _Converted:
    """Integers that become real numbers when they are divided."""

    values: Tensor
    dtype: torch.dtype

    def __truediv__(self, divisor: float) -> Tensor:
        return self.values.to(self.dtype) / divisor


@dataclass(frozen=True)
class _Readable:
    """Weights that are looked up by integers."""

    tensor: Tensor

    def __getitem__(self, key: Any) -> Tensor:
        parts = key if isinstance(key, tuple) else (key,)
        return self.tensor[tuple(part.values for part in parts)]
