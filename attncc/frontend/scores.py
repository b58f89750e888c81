"""Scores: what becomes of the scaled score of a pair before the softmax: biases, soft caps, anything real."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import sympy

from attncc._util.display import Displayed
from attncc._util.tracing import is_recording, shown, sizes
from attncc.errors import PatternError, ScoreError, nearest
from attncc.frontend.declarations import Declaration
from attncc.frontend.graph_templates import is_graph_value, slot_of
from attncc.frontend.language import Index, Table
from attncc.frontend.lists import Lists
from attncc.frontend.real import Real, real_of
from attncc.frontend.score_templates import Chained, Declared, Fixed, Shapes, Template
from attncc.frontend.weights import Weights, check_weights
from attncc.ir.condition import Symbolic
from attncc.ir.functions import WeightsSymbol
from attncc.ir.score import IDENTITY, ScoreExpression
from attncc.ir.symbols import BY_NAME, SCORE


class Score(Displayed):
    """What becomes of the scaled score of a pair: a template, and the tensors that are bound to its weights so far.

    The template gives an expression for the shapes of the weights, which is known once all of them are there. Scores of
    one expression run the same code.

    Attributes:
        template: Gives the expression.
        weights: The bound tensors by name, in the order of their slots.
        name: What the score is called in messages.
        parameters: The values that the declared function was called with.
        tables: Of a score that is made inside of a graph: the tables that are values of the graph.
    """

    def __init__(
        self,
        template: Template,
        weights: Mapping[str, Any] | None = None,
        name: str = "score",
        parameters: Mapping[str, Any] | None = None,
        tables: Sequence[Any] = (),
    ) -> None:
        given = weights or {}
        self.tables = tuple(tables)
        self.template = template
        #: The tensors that are bound, by name, in the order of their slots.
        self.weights = {slot: given[slot] for slot in template.names if slot in given}
        self.name = name
        self.parameters = dict(parameters or {})
        self._made: tuple[Shapes, ScoreExpression] | None = None

    @classmethod
    def of(cls, expression: ScoreExpression, weights: Mapping[str, Any] | None = None, name: str = "score") -> Score:
        """Return the score of an expression, whose slots are the weights in their order."""
        given = weights or {}
        return cls(Fixed(expression, tuple(given), _shapes(given.values())), given, name)

    @property
    def tensors(self) -> list[Any]:
        """The tensors of the weights, by slot. Raises ScoreError if one isn't bound yet."""
        for name in self.template.names:
            if name not in self.weights:
                raise ScoreError(
                    f"Score {self.name!r} has no tensor for its weights {name!r}.",
                    rule="Weights are given by name: at the call, or to the declared score.",
                    fix=f'Pass weights={{"{name}": ...}} beside the score, or write {self.name}({name}=...).',
                )
        return list(self.weights.values())

    @property
    def is_bound(self) -> bool:
        """Whether all weights have a tensor."""
        return len(self.weights) == len(self.template.names)

    @property
    def shapes(self) -> Shapes:
        """The shapes of the weights, by slot. Raises ScoreError if one isn't bound yet."""
        return _shapes(self.tensors)

    @property
    def expression(self) -> ScoreExpression:
        """The expression for weights of these shapes; raises ScoreError."""
        if self._made is not None and not self.template.names:
            return self._made[1]
        shapes = self.shapes
        if self._made is None or self._made[0] != shapes:
            self._made = shapes, self.template.expression(shapes)
        return self._made[1]

    @property
    def key(self) -> str:
        """The expression's key; in a graph that is recorded a constant of it."""
        return self.template.traced_key(self.shapes) if is_recording() else self.expression.key

    def with_weights(self, **weights: Any) -> Score:
        """Return the score with other tensors for some of its weights.

        Args:
            weights: Floating-point tensors by name.

        Raises:
            ScoreError: For a name that the score doesn't have.
            TableError: For what can't be weights.
        """
        for name in weights:
            if name not in self.template.names:
                known = ", ".join(self.template.names) or "none"
                raise ScoreError(
                    f"Score {self.name!r} has no weights {name!r}.",
                    rule=f"Its weights are {known}.",
                    fix=nearest(name, self.template.names),
                )
        checked = {name: check_weights(x, name) for name, x in weights.items()}
        return Score(self.template, {**self.weights, **checked}, self.name, self.parameters, self.tables)

    def on(self, tensors: Sequence[Any]) -> Score:
        """Return the score on these tensors, one for each slot. Raises what `with_weights` raises."""
        return self.with_weights(**dict(zip(self.template.names, tensors, strict=True)))

    def unbound(self) -> Score:
        """Return the score without tensors: all of its weights are given later."""
        return Score(self.template, {}, self.name, self.parameters)

    def fixed(self) -> Score:
        """Return the bound score with its expression in place of its template, for weights of these shapes only."""
        template = Fixed(self.expression, self.template.names, self.shapes)
        return Score(template, self.weights, self.name, self.parameters)

    def then(self, other: Score | ScoreFactory) -> Score:
        """Return this score followed by another, which gets its result: `alibi(...).then(softcap(cap=50.0))`.

        Args:
            other: The second score. A name of its weights that this score has too gets its slot behind it, as
                `slopes_1`.

        Raises:
            ScoreError: Where the two together compute with something that isn't finite.
        """
        second = as_score(other)
        template = Chained.of(self.template, second.template)
        renamed = dict(zip(second.template.names, template.names[len(self.template.names) :], strict=True))
        weights = {**self.weights, **{renamed[name]: x for name, x in second.weights.items()}}
        tables = self.tables + second.tables
        return _checked(Score(template, weights, f"{self.name}.then({second.name})", None, tables))

    def __reduce__(self) -> tuple[object, ...]:
        """A bound score is pickled by its expression, another one by what declared it."""
        made = self.fixed() if self.is_bound else self
        return Score, (made.template, made.weights, made.name, made.parameters)

    def __deepcopy__(self, memo: dict[int, Any]) -> Score:
        """The same on copies of its tensors, such as those of a copied model."""
        copied = {name: copy.deepcopy(x, memo) for name, x in self.weights.items()}
        return Score(self.template, copied, self.name, self.parameters)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Score) or self._identity != other._identity:
            return False
        return all(a is b for a, b in zip(self.weights.values(), other.weights.values(), strict=True))

    def __hash__(self) -> int:
        return hash(self._identity)

    def __repr__(self) -> str:
        given = [f"{name}={value!r}" for name, value in self.parameters.items()]
        given += [f"{name}={tuple(x.shape)}" for name, x in self.weights.items()]
        return f"{self.name}({', '.join(given)})"

    @property
    def _identity(self) -> object:
        """What equal scores have alike, beside their tensors."""
        return self.expression.on_host.key if self.is_bound else (self.template, tuple(self.weights))


class ScoreFactory(Declaration):
    """What `@attncc.score` makes of a function: call it with parameters to get a `Score`.

    Attributes:
        name: The function's name.
        doc: The function's documentation.
        parameters: The declared parameters, with types, defaults and limits.
    """

    kind = "score"
    error = ScoreError
    returns = "a real expression of the score and positions"
    known_symbols: ClassVar[Mapping[str, Symbolic]] = {
        SCORE.name: Real(SCORE),
        **{name: Index.of(symbol) for name, symbol in BY_NAME.items()},
    }
    known_types = (int, float, bool, Table, Lists, Weights)

    def __call__(self, **values: Any) -> Score:
        """Return the score for these parameters; weights that are left out are given when it is used.

        Raises ParameterError, TableError or ScoreError.
        """
        names = tuple([parameter.name for parameter in self.parameters if parameter.type is Weights])
        tables = {n: x for n, x in values.items() if n not in names and is_graph_value(x)} if is_recording() else {}
        checked = self.checked({name: value for name, value in values.items() if name not in tables}, tuple(tables))
        weights = {name: checked.pop(name) for name in names if name in checked}
        slots = tuple([slot_of(name, table) for name, table in tables.items()])
        template = Declared(self, names, tuple(checked.items()), slots)
        return _checked(Score(template, weights, self.name, checked, list(tables.values())))

    def built(self, parameters: Mapping[str, Any], shapes: Shapes) -> ScoreExpression:
        """Return the expression for parameters, and weights of such shapes; raises ScoreError."""
        names = [parameter.name for parameter in self.parameters if parameter.type is Weights]
        slots = {name: Weights(shape, name, slot) for slot, (name, shape) in enumerate(zip(names, shapes, strict=True))}
        result = self.evaluated({**parameters, **slots})
        try:
            expr = real_of(result)
            _check_slots(self.name, expr, [*slots.values()])
            return ScoreExpression(expr if SCORE.name in self.symbols else SCORE + expr)
        except PatternError as error:
            raise ScoreError(error.problem, rule=error.rule, fix=error.fix) from error


def _check_slots(name: str, expr: sympy.Expr, declared: Sequence[Weights]) -> None:
    """Raise ScoreError where a body reads weights that aren't its parameters."""
    known = {WeightsSymbol(entry.slot, entry.shape, entry.name) for entry in declared}
    if other := sorted(map(str, expr.atoms(WeightsSymbol) - known)):
        raise ScoreError(
            f"Score {name!r} looks up {', '.join(other)}.",
            rule="The weights of a score are its parameters; others would be read from the wrong tensor.",
            fix="Declare `*, weights: attncc.Weights`, and look these up.",
        )


def score(function: Callable[..., Any]) -> ScoreFactory:
    """Declare a score (decorator).

    Args:
        function: Names the symbols that it uses among score (scale * <q_i, k_j>), i, j, h, b, n_q, n_k. Every other
            parameter is annotated with int, float, bool, `attncc.Table` (integers), `attncc.Lists` (rows of integers)
            or `attncc.Weights` (a floating-point tensor, with gradient). The function returns what takes the score's
            place or, if it doesn't name `score`, a bias that is added to it. A result of -inf masks the pair.

    Returns:
        The declared score, to be called with its parameters.

    Raises:
        ScoreError: For a parameter without a usable annotation.
    """
    return ScoreFactory.of(function)


def as_score(value: object, weights: Mapping[str, Any] | None = None) -> Score:
    """Return `value` as a score: a Score, a declared score without further parameters, or None for the score as it is.

    With `weights`, these are bound to it by name. Raises ScoreError or TableError.
    """
    found = PLAIN if value is None else value() if isinstance(value, ScoreFactory) else value
    if not isinstance(found, Score):
        raise ScoreError(
            f"{shown(value)} ({type(value).__name__}) is not a score.",
            rule="A score is made by a function under @attncc.score.",
            fix="Call the declared score with its parameters, as in softcap(cap=50.0).",
        )
    if weights is None:
        return found
    if not isinstance(weights, Mapping):
        raise ScoreError(
            f"weights is a {type(weights).__name__}.",
            rule="It is a mapping from the names of a score's weights to tensors.",
            fix=f"The weights of {found.name!r} are {', '.join(found.template.names) or 'none'}.",
        )
    return found.with_weights(**weights)


def _shapes(tensors: Iterable[Any]) -> Shapes:
    return tuple([sizes(x) for x in tensors])


def _checked(made: Score) -> Score:
    """Return a score, its expression built if its weights are there; in a graph it is later. Raises ScoreError."""
    if made.is_bound and not is_recording():
        assert made.expression
    return made


#: The score as it is.
PLAIN = Score(Fixed(IDENTITY), name="plain")
