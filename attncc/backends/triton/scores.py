"""Printing of scores and their derivatives as Triton source, in float32."""

from __future__ import annotations

from dataclasses import dataclass

import sympy

from attncc.backends.triton.printer import TritonPrinter
from attncc.ir.functions import AsReal, Choice, Larger, Logarithm, Lookup, Magnitude, Root, Sign, Smaller
from attncc.ir.score import ScoreExpression
from attncc.ir.symbols import NK, NQ, SCORE, I, J

#: What kernels call the symbols whose own name they don't use.
_NAMES = {NQ: "q_len", NK: "kv_len"}


@dataclass(frozen=True)
class WeightsGradient:
    """How the gradient of one look-up of weights is added up: pairs that share an entry are summed first.

    pointer: where; place: the entry's offset; factor: the derivative by the entry ("" for 1). by_query, by_key: the
    offset depends on the query's and on the key's position.
    """

    pointer: str
    place: str
    factor: str
    by_query: bool
    by_key: bool


@dataclass(frozen=True)
class PrintedScore:
    """A score as source: its value, in the tile's shape; its derivative by the score ("" for 1); its weights'."""

    value: str
    derivative: str
    gradients: tuple[WeightsGradient, ...]


class ScorePrinter(TritonPrinter):
    """Prints real expressions over `score`, `i`, `j`, `h` and `b`, all of which broadcast against the tile."""

    def of_tile(self, expr: sympy.Expr) -> str:
        """Return the source of an expression in the tile's shape."""
        text = self.real(expr)
        return text if SCORE in expr.free_symbols else f"tl.zeros(scores.shape, tl.float32) + {text}"

    def real(self, expr: sympy.Expr) -> str:
        """Return the source of an expression, in parentheses."""
        return f"({self._print(expr)})"

    def factor(self, derivative: sympy.Expr) -> str:
        """Return the source of a derivative, "" for 1."""
        return "" if derivative == 1 else self.real(derivative)

    def gradient(self, lookup: Lookup, derivative: sympy.Expr) -> WeightsGradient:
        """Return how the gradient of a look-up is added up."""
        weights = lookup.weights
        free = set().union(*(index.free_symbols for index in lookup.indices))
        return WeightsGradient(
            f"d_weights_{weights.slot}",
            self.place(lookup.indices, weights.shape),
            self.factor(derivative),
            I in free,
            J in free,
        )

    def _print_Symbol(self, expr: sympy.Symbol) -> str:
        return _NAMES.get(expr, str(expr.name))

    def _print_Float(self, expr: sympy.Float) -> str:
        return repr(float(expr))

    def _print_Rational(self, expr: sympy.Rational) -> str:
        return repr(float(expr))

    def _print_NegativeInfinity(self, expr: sympy.Expr) -> str:
        return 'float("-inf")'

    def _print_Pow(self, expr: sympy.Pow, rational: bool = False) -> str:
        exponent = int(expr.exp)
        product = " * ".join([self.real(expr.base)] * abs(exponent))
        return f"({product})" if exponent > 0 else f"(1.0 / ({product}))"

    def _print_AsReal(self, expr: AsReal) -> str:
        return f"tl.cast({self._print(expr.args[0])}, tl.float32)"

    def _print_Lookup(self, expr: Lookup) -> str:
        place = self.place(expr.indices, expr.weights.shape)
        return f"tl.load(weights_{expr.weights.slot} + {place}).to(tl.float32)"

    def _print_Choice(self, expr: Choice) -> str:
        return f"tl.where({self.predicate(expr.predicate)}, {self._print(expr.args[1])}, {self._print(expr.args[2])})"

    def _print_tanh(self, expr: sympy.tanh) -> str:
        return f"(2.0 * tl.sigmoid(2.0 * {self.real(expr.args[0])}) - 1.0)"

    def _print_Sign(self, expr: Sign) -> str:
        x = self.real(expr.args[0])
        return f"tl.where({x} > 0, 1.0, tl.where({x} < 0, -1.0, 0.0))"

    def _print_exp(self, expr: sympy.exp) -> str:
        return f"tl.exp({self._print(expr.args[0])})"

    def _print_Logarithm(self, expr: Logarithm) -> str:
        return f"tl.log({self._print(expr.args[0])})"

    def _print_Root(self, expr: Root) -> str:
        return f"tl.sqrt({self._print(expr.args[0])})"

    def _print_Magnitude(self, expr: Magnitude) -> str:
        return f"tl.abs({self._print(expr.args[0])})"

    def _print_Larger(self, expr: Larger) -> str:
        return self._folded("tl.maximum", expr.args)

    def _print_Smaller(self, expr: Smaller) -> str:
        return self._folded("tl.minimum", expr.args)


def printed(score: ScoreExpression, printer: ScorePrinter) -> PrintedScore:
    """Return a score as source."""
    gradients = tuple(printer.gradient(*entry) for entry in score.gradients)
    return PrintedScore(printer.of_tile(score.expr), printer.factor(score.derivative), gradients)
