"""Printing of scores and their derivatives as Triton source, in float32."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import sympy
from sympy.printing.str import StrPrinter

from attncc.backends.triton.printer import Method, TritonPrinter, called, folded, infix
from attncc.ir.comparisons import Negation
from attncc.ir.functions import AsReal, ConditionSymbol, Lookup, Sign
from attncc.ir.score import ScoreExpression
from attncc.ir.symbols import NK, NQ, SCORE, I, J
from attncc.ir.tables import TableData

#: i - j, of a diagonal of a tile.
_DIFFERENCE = sympy.Symbol("difference", integer=True)
#: What kernels call the symbols whose own name they don't use.
_NAMES = {NQ: "q_len", NK: "kv_len"}


@dataclass(frozen=True)
class WeightsGradient:
    """How the gradient of a look-up of weights is added up: pairs of a tile that share an entry are summed first."""

    number: int  # of the look-up
    slot: int  # of the weights
    factor: str  # the derivative by the entry as source, "" for 1
    base: str  # the entry's offset is base * extent + place; the base is the same for all pairs of a head
    place: str  # below `extent`
    extent: int
    by_query: bool  # the place depends on the query's position
    by_key: bool  # the place depends on the key's position
    apart: bool  # no two pairs of a head share an entry
    by_difference: str = ""  # the place over `difference`, for one that depends on i - j only
    distinct: bool = False  # no two differences share an entry

    @property
    def by_pair(self) -> bool:
        """Whether the place depends on both positions."""
        return self.by_query and self.by_key

    @property
    def kernel(self) -> str:
        """The kernel whose tiles have the rows that the place depends on; that of queries, if it has a choice."""
        return "key_gradient" if self.by_key and not self.by_query else "query_gradient"


@dataclass(frozen=True)
class PrintedScore:
    """A score as source."""

    value: str  # in the tile's shape
    derivative: str  # by the score, "" for 1
    gradients: tuple[WeightsGradient, ...]  # of its weights


class IndexPrinter(TritonPrinter):
    """Prints the index expressions and conditions on positions that a score has."""

    def _print_Symbol(self, expr: sympy.Symbol) -> str:
        return _NAMES.get(expr, str(expr.name))


def _compared(sign: str) -> Method:
    """Return a method that prints a comparison of real numbers."""

    def method(self: ScorePrinter, expr: sympy.Basic) -> str:
        compared = infix(sign)(self, expr)
        if expr.free_symbols & {SCORE, I, J}:
            return compared
        return f"(tl.where({compared}, 1, 0) > 0)"  # spread over a tile, Triton's interpreter takes it for a float32

    return method


class ScorePrinter(StrPrinter):  # type: ignore[misc]
    """Prints real expressions over `score`, `i`, `j`, `h` and `b`, all of which broadcast against the tile."""

    printmethod = "_triton"  # which no node has: conditions are printed here, not as their hashes

    def __init__(self, tables: Iterable[tuple[str, TableData]], *, signed: bool = False, wide: bool = False) -> None:
        super().__init__()
        self.integers = IndexPrinter(tables, signed=signed, wide=wide)

    def of_tile(self, expr: sympy.Expr) -> str:
        """Return the source of an expression in the tile's shape."""
        text = self.real(expr)
        return text if SCORE in expr.free_symbols else f"tl.zeros(qk.shape, tl.float32) + {text}"

    def real(self, expr: sympy.Expr) -> str:
        """Return the source of an expression, in parentheses."""
        return f"({self._print(expr)})"

    def factor(self, derivative: sympy.Expr) -> str:
        """Return the source of a derivative, "" for 1."""
        return "" if derivative == 1 else self.real(derivative)

    def gradient(self, number: int, lookup: Lookup, derivative: sympy.Expr) -> WeightsGradient:
        """Return how the gradient of look-up `number` is added up."""
        indices, shape = lookup.indices, lookup.weights.shape
        free = set().union(*(index.free_symbols for index in indices))
        by_pair = {I, J} <= free
        # Sums by pairs are kept in a table, which shall be that of one head.
        fixed = next(n for n, index in enumerate(indices) if index.free_symbols & {I, J}) if by_pair else 0
        by_difference = _by_difference(indices[fixed:]) if by_pair else ()
        return WeightsGradient(
            number,
            lookup.weights.slot,
            self.factor(derivative),
            self.integers.place(indices[:fixed], shape[:fixed]),
            self.integers.place(indices[fixed:], shape[fixed:]),
            math.prod(shape[fixed:]),
            I in free,
            J in free,
            all(any((index - axis).free_symbols.isdisjoint({I, J}) for index in indices) for axis in (I, J)),
            self.integers.place(by_difference, shape[fixed:]) if by_difference else "",
            any(_is_distinct(index) for index in by_difference),
        )

    def _print(self, expr: sympy.Basic, **settings: object) -> str:
        """Print an expression; one of numbers alone, such as exp(2), is the number that it is."""
        if isinstance(expr, sympy.Expr) and expr.is_number and not _is_small_integer(expr):
            return _number(float(expr))
        printed: str = super()._print(expr, **settings)
        return printed

    _print_Below, _print_AtMost, _print_Same = _compared("<"), _compared("<="), _compared("==")
    _print_Conjunction, _print_Disjunction, _print_Choice = infix("&"), infix("|"), called("tl.where")
    _print_Larger, _print_Smaller = folded("tl.maximum"), folded("tl.minimum")
    _print_exp, _print_Logarithm, _print_Root = called("tl.exp"), called("tl.log"), called("tl.sqrt")
    _print_Sine, _print_Cosine, _print_ErrorFunction = called("tl.sin"), called("tl.cos"), called("tl.erf")
    _print_Magnitude = called("tl.abs")

    def _print_Function(self, expr: sympy.Function) -> str:
        return self.integers.integer(expr)  # which refuses it

    def _print_Pow(self, expr: sympy.Pow, rational: bool = False) -> str:
        exponent = int(expr.exp)
        product = " * ".join([self.real(expr.base)] * abs(exponent))
        return f"({product})" if exponent > 0 else f"(1.0 / ({product}))"

    def _print_AsReal(self, expr: AsReal) -> str:
        return f"tl.cast({self.integers.integer(expr.args[0])}, tl.float32)"

    def _print_Lookup(self, expr: Lookup) -> str:
        place = self.integers.place(expr.indices, expr.weights.shape)
        return f"tl.load(weights_{expr.weights.slot} + {place}).to(tl.float32)"

    def _print_ConditionSymbol(self, expr: ConditionSymbol) -> str:
        return self.integers.predicate(expr.predicate)

    def _print_Negation(self, expr: Negation) -> str:
        return f"({self.real(expr.args[0])} == 0)"

    def _print_tanh(self, expr: sympy.tanh) -> str:
        return f"(2.0 * tl.sigmoid(2.0 * {self.real(expr.args[0])}) - 1.0)"

    def _print_Sign(self, expr: Sign) -> str:
        x = self.real(expr.args[0])
        return f"tl.where({x} > 0, 1.0, tl.where({x} < 0, -1.0, 0.0))"


def _is_small_integer(expr: sympy.Expr) -> bool:
    """Return whether a number is written without a point; all of these are exact in float32."""
    return bool(expr.is_Integer and abs(expr) < 1 << 24)


def _number(value: float) -> str:
    """Return a number that Triton takes for a float32: it takes those beyond, or next to 0, for a float64."""
    smallest, largest = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
    if smallest <= abs(value) <= largest or value == 0.0:
        return repr(value)
    with np.errstate(over="ignore"):
        rounded = float(np.float32(value))
    return f'float("{rounded}")' if math.isinf(rounded) else f"tl.cast({value!r}, tl.float32)"


def _by_difference(indices: Sequence[sympy.Expr]) -> tuple[sympy.Expr, ...]:
    """Return indices over i - j, or () if they depend on more."""
    shifted = tuple(index.subs(I, _DIFFERENCE + J) for index in indices)
    return () if any({I, J} & index.free_symbols for index in shifted) else shifted


def _is_distinct(index: sympy.Expr) -> bool:
    """Return whether an index over i - j is the difference or its negative, plus terms that a head's pairs share."""
    return any(_DIFFERENCE not in (index + sign * _DIFFERENCE).free_symbols for sign in (1, -1))


def printed(score: ScoreExpression, printer: ScorePrinter) -> PrintedScore:
    """Return a score as source."""
    gradients = tuple(printer.gradient(number, *entry) for number, entry in enumerate(score.gradients))
    return PrintedScore(printer.of_tile(score.expr), printer.factor(score.derivative), gradients)
