"""The nodes of a real expression that sympy's own functions aren't used for.

A score's expression is built from `Add`, `Mul`, `Pow` with integer exponents, `exp`, `tanh`, numbers, the symbol
`score`, and the nodes below. The condition of a `Choice` may also have those of attncc.ir.comparisons. Each is real by
declaration, which sympy can't tell of its own `log` or `Abs`, and each has a derivative that can be evaluated
everywhere: where a function has a kink, the mean of both sides. Integer arithmetic stands in `AsReal`, in the indices
of a `Lookup` and in conditions, and nowhere else.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Self

import sympy

from attncc.ir.normal import digest
from attncc.ir.predicate import Constant, Predicate


def number(value: float) -> sympy.Number:
    """Return a finite number as a node: whole ones are integers, so that they cancel."""
    return sympy.Integer(value) if value.is_integer() else sympy.Float(value)


class _RealFunction(sympy.Function):  # type: ignore[misc]
    """A function whose values are real numbers (or -inf, which masks a pair)."""

    is_commutative = True
    is_real = True


class AsReal(_RealFunction):
    """`AsReal(index)`: an index expression, computed in integers, as a real number."""

    @classmethod
    def eval(cls, index: sympy.Expr) -> sympy.Expr | None:
        return index if index.is_Number else None

    def _eval_derivative(self, symbol: sympy.Symbol) -> sympy.Expr:
        return sympy.S.Zero


class Sign(_RealFunction):
    """-1, 0 or 1."""

    @classmethod
    def eval(cls, x: sympy.Expr) -> sympy.Expr | None:
        return sympy.sign(x) if x.is_number else None

    def _eval_derivative(self, symbol: sympy.Symbol) -> sympy.Expr:
        return sympy.S.Zero


class Magnitude(_RealFunction):
    """|x|."""

    @classmethod
    def eval(cls, x: sympy.Expr) -> sympy.Expr | None:
        return abs(x) if x.is_number else None

    def fdiff(self, argindex: int = 1) -> sympy.Expr:
        return Sign(self.args[0])


class Root(_RealFunction):
    """The square root."""

    @classmethod
    def eval(cls, x: sympy.Expr) -> sympy.Expr | None:
        if not x.is_number:
            return None
        if x < 0:
            return sympy.S.NaN
        root = sympy.sqrt(x)
        return root if root.is_Rational else number(float(root))

    def fdiff(self, argindex: int = 1) -> sympy.Expr:
        return 1 / (2 * self)


class Logarithm(_RealFunction):
    """The natural logarithm."""

    @classmethod
    def eval(cls, x: sympy.Expr) -> sympy.Expr | None:
        if not x.is_number:
            return None
        if x == 0:
            return sympy.S.NegativeInfinity
        return number(math.log(x)) if x > 0 else sympy.S.NaN

    def fdiff(self, argindex: int = 1) -> sympy.Expr:
        return 1 / self.args[0]


class Sine(_RealFunction):
    """The sine."""

    @classmethod
    def eval(cls, x: sympy.Expr) -> sympy.Expr | None:
        return _at(math.sin, x)

    def fdiff(self, argindex: int = 1) -> sympy.Expr:
        return Cosine(self.args[0])


class Cosine(_RealFunction):
    """The cosine."""

    @classmethod
    def eval(cls, x: sympy.Expr) -> sympy.Expr | None:
        return _at(math.cos, x)

    def fdiff(self, argindex: int = 1) -> sympy.Expr:
        return -Sine(self.args[0])


class ErrorFunction(_RealFunction):
    """The error function, twice the normal distribution's integral from 0 to x times the square root of 2."""

    @classmethod
    def eval(cls, x: sympy.Expr) -> sympy.Expr | None:
        return _at(math.erf, x)

    def fdiff(self, argindex: int = 1) -> sympy.Expr:
        return number(2 / math.sqrt(math.pi)) * sympy.exp(-(self.args[0] ** 2))


def _at(function: Callable[[float], float], x: sympy.Expr) -> sympy.Expr | None:
    """Return the value at a number, NaN where there is none; None where x isn't a number."""
    if not x.is_number:
        return None
    return number(function(float(x))) if x.is_finite else sympy.S.NaN


class Smaller(_RealFunction):
    """The smaller of two numbers."""

    @classmethod
    def eval(cls, a: sympy.Expr, b: sympy.Expr) -> sympy.Expr | None:
        if a == b:
            return a
        return sympy.Min(a, b) if a.is_number and b.is_number else None

    def fdiff(self, argindex: int = 1) -> sympy.Expr:
        a, b = self.args
        return (1 - Sign(a - b) * (1 if argindex == 1 else -1)) / 2


class Larger(_RealFunction):
    """The larger of two numbers."""

    @classmethod
    def eval(cls, a: sympy.Expr, b: sympy.Expr) -> sympy.Expr | None:
        if a == b:
            return a
        return sympy.Max(a, b) if a.is_number and b.is_number else None

    def fdiff(self, argindex: int = 1) -> sympy.Expr:
        a, b = self.args
        return (1 + Sign(a - b) * (1 if argindex == 1 else -1)) / 2


class ConditionSymbol(sympy.AtomicExpr):  # type: ignore[misc]
    """A predicate inside a sympy expression."""

    is_commutative = True
    predicate: Predicate

    def __new__(cls, predicate: Predicate) -> Self:
        node: Self = sympy.AtomicExpr.__new__(cls)
        node.predicate = predicate
        return node

    def __getnewargs__(self) -> tuple[Predicate]:
        """What a copy in another process is made of."""
        return (self.predicate,)

    def __getstate__(self) -> None:
        """Nothing else: `__new__` sets the predicate."""

    @property
    def free_symbols(self) -> set[sympy.Symbol]:
        return set(self.predicate.free)

    def _hashable_content(self) -> tuple[str, ...]:
        return (digest(self.predicate),)

    def sort_key(self, order: Any = None) -> Any:
        return self.class_key(), (1, self._hashable_content()), sympy.S.One.sort_key(), sympy.S.One

    def _sympystr(self, printer: Any) -> str:
        return f"condition_{digest(self.predicate)}"


class Choice(_RealFunction):
    """`Choice(condition, yes, no)`: `yes` where a condition holds, else `no`; each may be -inf.

    The condition is on positions, a ConditionSymbol, or one of attncc.ir.comparisons. Where it turns there is no
    derivative; elsewhere it is that of the branch.
    """

    @classmethod
    def eval(cls, condition: sympy.Expr, yes: sympy.Expr, no: sympy.Expr) -> sympy.Expr | None:
        if isinstance(condition, ConditionSymbol) and isinstance(condition.predicate, Constant):
            return yes if condition.predicate.value else no
        return yes if yes == no else None

    def _eval_derivative(self, symbol: sympy.Symbol) -> sympy.Expr:
        condition, yes, no = self.args
        return Choice(condition, yes.diff(symbol), no.diff(symbol))


class WeightsSymbol(sympy.AtomicExpr):  # type: ignore[misc]
    """Weights inside a sympy expression: their slot, name and shape, never their values."""

    is_commutative = True
    slot: int
    shape: tuple[int, ...]
    label: str

    def __new__(cls, slot: int, shape: tuple[int, ...], label: str) -> Self:
        node: Self = sympy.AtomicExpr.__new__(cls)
        node.slot, node.shape, node.label = slot, shape, label
        return node

    def __getnewargs__(self) -> tuple[int, tuple[int, ...], str]:
        """What a copy in another process is made of."""
        return self.slot, self.shape, self.label

    def __getstate__(self) -> None:
        """Nothing else: `__new__` sets them."""

    def _hashable_content(self) -> tuple[Any, ...]:
        return (self.slot, self.shape, self.label)

    def sort_key(self, order: Any = None) -> Any:
        return self.class_key(), (1, (str(self),)), sympy.S.One.sort_key(), sympy.S.One

    def _sympystr(self, printer: Any) -> str:
        return f"weights_{self.slot}_{self.label}_{'x'.join(map(str, self.shape))}"


class Lookup(_RealFunction):
    """`Lookup(weights, x, ...)` is the weights' entry at index (x, ...), one index a dimension."""

    @property
    def weights(self) -> WeightsSymbol:
        weights: WeightsSymbol = self.args[0]
        return weights

    @property
    def indices(self) -> tuple[sympy.Expr, ...]:
        return tuple(self.args[1:])

    def _eval_derivative(self, symbol: sympy.Symbol) -> sympy.Expr:
        return sympy.S.Zero
