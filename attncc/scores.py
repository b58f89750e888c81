"""Scores: what becomes of the scaled score of a pair before the softmax: biases, soft caps, anything real."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from attncc.declarations import Declaration
from attncc.errors import PatternError, ScoreError, nearest
from attncc.ir.condition import Symbolic
from attncc.ir.functions import Lookup, WeightsSymbol
from attncc.ir.language import Index, Table
from attncc.ir.real import Real, real_of
from attncc.ir.score import IDENTITY, ScoreExpression
from attncc.ir.symbols import BY_NAME, SCORE
from attncc.ir.weights import Weights


class Score:
    """A score: its expression, and the live tensors that it looks up.

    `name` and `parameters` say where it came from; scores of equal `expression` run the same code.
    """

    def __init__(
        self,
        expression: ScoreExpression,
        weights: tuple[Weights, ...] = (),
        name: str = "score",
        parameters: Mapping[str, Any] | None = None,
    ) -> None:
        self.expression = expression
        self.weights = weights
        #: The weights' tensors, by slot.
        self.tensors = [entry.tensor for entry in weights]
        self.key = expression.key
        self.name = name
        self.parameters = dict(parameters or {})

    def with_weights(self, **tensors: Any) -> Score:
        """Return the same score on other tensors of the same shapes, without building its expression again.

        Raises ScoreError for an unknown name or another shape, TableError for what can't be weights.
        """
        known = [entry.name for entry in self.weights]
        for name in tensors:
            if name not in known:
                raise ScoreError(f"{self.name!r} has no weights {name!r}.", fix=nearest(name, known))
        return self.on([tensors.get(entry.name, entry.tensor) for entry in self.weights])

    def on(self, tensors: Sequence[Any]) -> Score:
        """Return the same score on other tensors, one for each of `weights`; raises as `with_weights` does."""
        changed = [Weights(x, w.name, w.slot) for w, x in zip(self.weights, tensors, strict=True)]
        for old, new in zip(self.weights, changed, strict=True):
            if old.shape != new.shape:
                raise ScoreError(
                    f"Weights {old.name!r} of shape {new.shape} in place of {old.shape}.",
                    rule="A score's expression is for weights of certain shapes.",
                    fix="Call the declared score again with these weights.",
                )
        parameters = self.parameters | {entry.name: entry for entry in changed if entry.name in self.parameters}
        return Score(self.expression, tuple(changed), self.name, parameters)

    def then(self, other: Score) -> Score:
        """Return this score followed by another, which gets its result: `alibi(...).then(softcap(cap=50.0))`.

        Raises ScoreError where the two together compute with something that isn't finite.
        """
        shift = len(self.weights)
        moved = {read: _moved(read, shift) for read in other.expression.lookups}
        expr = other.expression.expr.xreplace(moved).xreplace({SCORE: self.expression.expr})
        taken = {entry.name for entry in self.weights}
        added = [
            Weights(w.tensor, f"{w.name}_{w.slot + shift}" if w.name in taken else w.name, w.slot + shift)
            for w in other.weights
        ]
        return Score(ScoreExpression(expr), (*self.weights, *added), f"{self.name}.then({other.name})")

    def __deepcopy__(self, memo: dict[int, Any]) -> Score:
        """The same on copies of its tensors, such as those of a copied model."""
        return self.on([copy.deepcopy(x, memo) for x in self.tensors])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Score) or self.key != other.key:
            return False
        return all(a is b for a, b in zip(self.tensors, other.tensors, strict=True))

    def __hash__(self) -> int:
        return hash(self.key)

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(f'{name}={value!r}' for name, value in self.parameters.items())})"


class ScoreFactory(Declaration):
    """What `@attncc.score` makes of a function: call it with parameters to get a Score."""

    kind = "score"
    error = ScoreError
    returns = "a real expression of the score and positions"
    known_symbols: ClassVar[Mapping[str, Symbolic]] = {
        SCORE.name: Real(SCORE),
        **{name: Index.of(symbol) for name, symbol in BY_NAME.items()},
    }
    known_types = (int, float, bool, Table, Weights)

    def __call__(self, **values: Any) -> Score:
        """Return the score for these parameters; raises ParameterError, TableError or ScoreError."""
        checked = self.checked(values)
        named = [value for value in checked.values() if isinstance(value, Weights)]
        for slot, weights in enumerate(named):
            weights.slot = slot
        result = self.evaluated(checked)
        try:
            expr = real_of(result)
            whole = expr if SCORE.name in self.symbols else SCORE + expr
            return Score(ScoreExpression(whole), tuple(named), self.name, checked)
        except PatternError as error:
            raise ScoreError(error.problem, rule=error.rule, fix=error.fix) from error


def score(function: Callable[..., Any]) -> ScoreFactory:
    """Declare a score (decorator).

    The function names the symbols it uses among score (scale * <q_i, k_j>), i, j, h, b, n_q, n_k; every other
    parameter is annotated with int, float, bool, `attncc.Table` (integers) or `attncc.Weights` (a floating-point
    tensor, with gradient). It returns what takes the score's place, or, if it doesn't name `score`, a bias that is
    added to it. A result of -inf masks the pair.

    Raises ScoreError for a parameter without a usable annotation.
    """
    return ScoreFactory.of(function)


def as_score(value: object) -> Score:
    """Return `value` as a score: a Score, a declared score that needs no parameters, or None for the score as it is."""
    if value is None:
        return PLAIN
    if isinstance(value, Score):
        return value
    if isinstance(value, ScoreFactory):
        return value()
    raise ScoreError(
        f"{value!r} ({type(value).__name__}) is not a score.",
        rule="A score is made by a function under @attncc.score.",
        fix="Call the declared score with its parameters, as in softcap(cap=50.0).",
    )


def _moved(read: Lookup, shift: int) -> Lookup:
    old = read.weights
    return Lookup(WeightsSymbol(old.slot + shift, old.shape, old.label), *read.indices)


#: The score as it is.
PLAIN = Score(IDENTITY, name="plain")
