"""Printing of integer expressions and predicates as Triton source.

Positions print as `i` and `j`, which the template broadcasts against each other. Triton divides towards zero, attncc
towards minus infinity; where an operand may be negative, the printed arithmetic corrects for that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import sympy
from sympy.printing.str import StrPrinter

from attncc.errors import BackendError
from attncc.ir.arithmetic import floor_quotient
from attncc.ir.bits import MAX_SHIFT, LeftShift, RightShift
from attncc.ir.lists import IsMember
from attncc.ir.predicate import And, Atom, Constant, Or, Predicate
from attncc.ir.symbols import I
from attncc.ir.tables import Read, TableData

_SIGN = {"ge": ">=", "eq": "==", "ne": "!="}
#: Comparisons of a predicate that is printed; a chain of `^` has twice as many at each link.
MAX_PRINTED = 1 << 10
#: A query position that isn't negative, by its symbol's name.
_FROM_ZERO = sympy.Symbol(I.name, integer=True, nonnegative=True)


Method = Callable[[Any, sympy.Basic], str]


def called(function: str) -> Method:
    """Return a method that prints a node as a call of a function."""
    return lambda self, expr: f"{function}({', '.join(map(self._print, expr.args))})"


def folded(function: str) -> Method:
    """Return a method that prints a node as calls of a function of two arguments, in a fixed order."""

    def method(self: Any, expr: sympy.Basic) -> str:
        printed, *rest = sorted(str(self._print(arg)) for arg in expr.args)
        for arg in rest:
            printed = f"{function}({printed}, {arg})"
        return printed

    return method


def infix(sign: str) -> Method:
    """Return a method that prints a node as its arguments with a sign between them, fully parenthesised."""
    return lambda self, expr: "(" + f" {sign} ".join(f"({self._print(arg)})" for arg in expr.args) + ")"


class TritonPrinter(StrPrinter):  # type: ignore[misc]
    """Prints expressions; `tables` are (pointer argument, table).

    `signed`: query positions may be negative. `wide`: arithmetic is in 64 bits, whatever a table has.
    """

    def __init__(self, tables: Iterable[tuple[str, TableData]], *, signed: bool = False, wide: bool = False) -> None:
        super().__init__()
        self._entry = ".to(tl.int64)" if wide else ""
        self.tables = {table.identity: name for name, table in tables}
        self._positions = {} if signed else {I: _FROM_ZERO}

    def integer(self, expr: sympy.Expr) -> str:
        """Return an index expression as source."""
        return str(self.doprint(expr.xreplace(self._positions)))

    def predicate(self, predicate: Predicate) -> str:
        """Return a predicate as a Boolean expression, fully parenthesised; raises BackendError if it is too long."""
        if predicate.occurrences > MAX_PRINTED:
            raise BackendError(
                f"A predicate of {predicate.occurrences:,} comparisons, repeated ones included.",
                rule=f"A kernel evaluates at most {MAX_PRINTED:,} for each pair.",
                fix="Put what depends on i, on j or on i - j alone into tables, or name backend='torch'.",
            )
        if isinstance(predicate, Constant):
            return str(predicate.value)
        if isinstance(predicate, Atom):
            return f"({self.integer(predicate.expr)} {_SIGN[predicate.relation]} 0)"
        assert isinstance(predicate, And | Or)
        sign = " & " if isinstance(predicate, And) else " | "
        return f"({sign.join(sorted(map(self.predicate, predicate.args)))})"

    def _print_Function(self, expr: sympy.Function) -> str:
        raise BackendError(
            f"{type(expr).__name__} can't be printed as Triton source.",
            rule="The triton backend prints what the language of patterns and scores has.",
            fix="Write the expression with attncc's own functions, or name backend='torch'.",
        )

    def _print_Mod(self, expr: sympy.Mod) -> str:
        dividend, modulus = f"({self._print(expr.args[0])})", self._divisor(expr.args[1])
        if expr.args[0].is_nonnegative:
            return f"({dividend} % {modulus})"
        return f"(({dividend} % {modulus} + {modulus}) % {modulus})"

    def _print_floor(self, expr: sympy.floor) -> str:
        numerator, denominator = floor_quotient(expr)
        top, bottom = f"({self._print(numerator)})", self._divisor(denominator)
        if numerator.is_nonnegative:
            return f"({top} // {bottom})"
        return f"(({top} - ({top} % {bottom} + {bottom}) % {bottom}) // {bottom})"

    _print_FloorDiv = _print_floor

    def _divisor(self, expr: sympy.Expr) -> str:
        """Return a divisor; one that isn't a number may be below 1 for the rows that fill a tile up."""
        printed = self._print(expr)
        return f"({printed})" if expr.is_Integer else f"tl.maximum({printed}, 1)"

    _print_BitAnd, _print_BitOr, _print_BitXor = infix("&"), infix("|"), infix("^")
    _print_Max, _print_Min, _print_Abs = folded("tl.maximum"), folded("tl.minimum"), called("tl.abs")

    def _print_LeftShift(self, expr: LeftShift) -> str:
        return f"(tl.cast({self._print(expr.args[0])}, tl.int64) << {self._shift(expr.args[1])})"

    def _print_RightShift(self, expr: RightShift) -> str:
        return f"(tl.cast({self._print(expr.args[0])}, tl.int64) >> {self._shift(expr.args[1])})"

    def _shift(self, expr: sympy.Expr) -> str:
        """Return the number of bits to shift by, in range for the rows that fill a tile up, too."""
        return f"tl.minimum(tl.maximum({self._print(expr)}, 0), {MAX_SHIFT})"

    def _print_Pow(self, expr: sympy.Pow, rational: bool = False) -> str:
        return "(" + " * ".join([f"({self._print(expr.base)})"] * int(expr.exp)) + ")"

    def _print_Read(self, expr: Read) -> str:
        place = self.place(expr.indices, expr.shape)
        return f"tl.load({self.tables[expr.table.identity]} + {place}){self._entry}"

    def _print_IsMember(self, expr: IsMember) -> str:
        size = expr.table.shape[-1]
        row = f"{self.tables[expr.table.identity]} + ({self.place(expr.indices, expr.shape)}) * {size}"
        return f"is_member({row}, {self._print(expr.value)}, {size}, {size.bit_length()})"

    def place(self, indices: Sequence[sympy.Expr], shape: Sequence[int]) -> str:
        """Return the offset of an entry, clipped: outside its table it only stands where a guard is false.

        Without dimensions there is one entry, the first.
        """
        offset = ""
        for index, size in zip(indices, shape, strict=True):
            inside = f"tl.minimum(tl.maximum({self.integer(index)}, 0), {size - 1})"
            offset = inside if not offset else f"({offset}) * {size} + {inside}"
        return offset or "0"


def named_tables(tables: Iterable[TableData]) -> tuple[tuple[str, TableData], ...]:
    """Return (argument name, table) of tables, in the order of their content, or of their making."""
    ordered = sorted({table.identity: table for table in tables}.values(), key=lambda table: table.identity)
    return tuple((f"table_{number}", table) for number, table in enumerate(ordered))
