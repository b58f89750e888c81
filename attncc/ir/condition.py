"""Conditions: what comparisons in the body of a pattern or score make, on positions or on real numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from functools import partial
from types import MappingProxyType
from typing import Any, ClassVar, NoReturn

import numpy as np
import sympy

from attncc.errors import PatternError
from attncc.ir import size
from attncc.ir.comparisons import Conjunction, Disjunction, Negation
from attncc.ir.functions import ConditionSymbol
from attncc.ir.predicate import FALSE, TRUE, Predicate

#: What takes the tensors without dimensions that a function closes over (attncc.frontend.captures); None elsewhere.
CAPTURED: ContextVar[Callable[[Any], Symbolic] | None] = ContextVar("captured", default=None)


class Symbolic:
    """Refuses to be decided by Python: shared by Index, Real and conditions."""

    __array_ufunc__ = None  # numpy scalars hand the operation to our reflected operators
    #: What torch's functions, and what methods of tensors, do to symbols, by name (attncc.frontend.torch_names).
    torch_names: ClassVar[Mapping[str, Callable[..., Any]]] = MappingProxyType({})
    torch_methods: ClassVar[Mapping[str, Callable[..., Any]]] = MappingProxyType({})
    #: Functions for FlexAttention make their tensors where their indices are.
    device = "cpu"

    def __bool__(self) -> NoReturn:
        raise PatternError(
            "A comparison of positions was used as True or False: `and`, `or`, `not`, `if`, `in`, max(), min() or a "
            "chained `a < b < c`.",
            rule="i and j stand for all positions at once, so Python can't decide the comparison.",
            fix="Write & for and, | for or, ~ for not, attncc.where(c, x, y) for if, attncc.maximum for max, "
            "(a < b) & (b < c) for a chain, with parentheses around each comparison: & and | bind tighter than <.",
        )

    @classmethod
    def __torch_function__(cls, function: Any, types: object, args: Any = (), kwargs: Any = None) -> Any:
        """Return what a function of torch makes of symbols; raises PatternError for one that isn't for them."""
        names = cls.torch_methods if hasattr(function, "__objclass__") else cls.torch_names
        if (named := names.get(function.__name__)) is None:
            raise PatternError(
                f"torch's {function.__name__!r} was called with a position, a condition or a score.",
                rule="They stand for all pairs at once. Arithmetic, comparisons, look-ups and functions of single "
                "numbers are known; sums and products over a dimension aren't.",
                fix="Compute what depends on one position before, of torch.arange(N), and look it up, as in "
                "table[q_idx]. For a mask, attncc.from_mask_mod(..., dense=(Nq, Nk)) looks at every pair instead.",
            )
        return named(*map(_operand, args), **{name: _operand(value) for name, value in (kwargs or {}).items()})

    def __getattr__(self, name: str) -> Any:
        """Return the method of tensors of this name."""
        if (named := self.torch_methods.get(name)) is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return partial(named, self)

    def real(self) -> sympy.Expr:
        """Return the value as a real expression."""
        raise TypeError(type(self))

    def holds(self) -> sympy.Expr:
        """Return the value as the condition of a choice between real expressions."""
        refuse_as_condition(self)


class Condition(Symbolic):
    """A predicate in the making; combine with `& | ~ ^`, compare with `==` and `!=`."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, predicate: Predicate) -> None:
        size.check_condition(predicate)
        self._predicate = predicate

    @property
    def predicate(self) -> Predicate:
        """Which pairs it holds for."""
        return self._predicate

    def __and__(self, other: object) -> Condition:
        return Condition(self.predicate & predicate_of(other))

    def __or__(self, other: object) -> Condition:
        return Condition(self.predicate | predicate_of(other))

    def __xor__(self, other: object) -> Condition:
        return Condition(self.predicate ^ predicate_of(other))

    __rand__, __ror__, __rxor__ = __and__, __or__, __xor__

    def __invert__(self) -> Condition:
        return Condition(~self.predicate)

    def __eq__(self, other: object) -> Condition:  # type: ignore[override]
        return ~(self ^ other)

    def __ne__(self, other: object) -> Condition:  # type: ignore[override]
        return self ^ other

    def real(self) -> sympy.Expr:
        """Refuse: a comparison is not a number."""
        refuse_as_number()

    def holds(self) -> sympy.Expr:
        """Return the predicate as a node."""
        return ConditionSymbol(self.predicate)

    def __repr__(self) -> str:
        return f"Condition({self.predicate})"


class RealCondition(Condition):
    """A comparison that is decided in floating point, such as `score > 0`, or what joins such with others."""

    __hash__ = None

    def __init__(self, expr: sympy.Expr) -> None:
        self.expr = expr

    @property
    def predicate(self) -> Predicate:
        """Refuse: pairs are chosen exactly."""
        raise PatternError(
            "A comparison of real numbers that aren't fractions of positions stands where pairs are chosen.",
            rule="Patterns, and whatever positions decide, are exact: they compare integers, and sums, products, "
            "minima and maxima of them with numbers and divided by numbers.",
            fix="Compare the positions themselves, look a boolean attncc.Table up, or choose with attncc.where in a "
            "score.",
        )

    def __and__(self, other: object) -> RealCondition:
        return RealCondition(Conjunction(self.expr, condition_of(other)))

    def __or__(self, other: object) -> RealCondition:
        return RealCondition(Disjunction(self.expr, condition_of(other)))

    def __xor__(self, other: object) -> RealCondition:
        return (self & ~RealCondition(condition_of(other))) | (~self & other)

    __rand__, __ror__, __rxor__ = __and__, __or__, __xor__

    def __invert__(self) -> RealCondition:
        return RealCondition(Negation(self.expr))

    def holds(self) -> sympy.Expr:
        """Return the condition as a node."""
        return self.expr

    def __repr__(self) -> str:
        return f"RealCondition({self.expr})"


def is_scalar_tensor(value: object) -> bool:
    """Return whether a value is a tensor without dimensions."""
    return hasattr(value, "requires_grad") and getattr(value, "shape", None) == ()


def _operand(value: Any) -> Any:
    """Return an argument of a function of torch; raises PatternError for a tensor with dimensions."""
    if is_scalar_tensor(value):
        return taken(value)
    if hasattr(value, "requires_grad") and hasattr(value, "shape"):
        raise PatternError(
            f"A tensor of shape {tuple(value.shape)} was used with a position, a condition or a score.",
            rule="These stand for all pairs at once, and go with single numbers.",
            fix="Look up the entry that is meant: tensor[q_idx], or tensor[0]. For a mask, attncc.from_mask_mod(..., "
            "dense=(Nq, Nk)) looks at every pair instead.",
        )
    return value


def taken(tensor: Any) -> Symbolic:
    """Return what stands for a tensor without dimensions; raises PatternError where none are taken."""
    if (take := CAPTURED.get()) is None:
        raise PatternError(
            f"{tensor!r:.80} ({type(tensor).__name__}) was used in a score, or with positions.",
            rule="A declared function takes tensors as parameters, so that their values and gradients count.",
            fix="Declare it as attncc.Weights or attncc.Table, or write tensor.item() for a constant.",
        )
    return take(tensor)


def predicate_of(value: object) -> Predicate:
    """Return `value`, a Condition or a bool of Python's or numpy's, as a predicate."""
    if isinstance(value, Condition):
        return value.predicate
    if isinstance(value, bool | np.bool_):
        return TRUE if value else FALSE
    if is_scalar_tensor(value) and isinstance(found := taken(value), Condition):
        return found.predicate
    refuse_as_condition(value)


def condition_of(value: object) -> sympy.Expr:
    """Return `value`, any condition or a Python bool, as the condition of a choice between real expressions."""
    return value.holds() if isinstance(value, Symbolic) else ConditionSymbol(predicate_of(value))


def refuse_as_condition(value: object) -> NoReturn:
    """Raise PatternError: something else stands where a condition is needed."""
    raise PatternError(
        f"{value!r} ({type(value).__name__}) stands where a comparison is needed.",
        rule="`&`, `|`, `^` and `~` join comparisons, such as (j <= i) & (i - j < 64), or are bitwise on integers.",
        fix="Put parentheses around each comparison: & and | bind tighter than < and ==.",
    )


def refuse_as_number() -> NoReturn:
    """Raise PatternError: a condition stands where a number is needed."""
    raise PatternError(
        "A comparison was used as a number.",
        rule="Arithmetic is on positions; comparisons are joined with & | ^ ~.",
        fix="Write attncc.where(condition, 1, 0) for the number, and put parentheses around comparisons.",
    )
