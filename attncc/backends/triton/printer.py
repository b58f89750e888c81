"""Printing of integer expressions and predicates as Triton source.

Positions print as `i` and `j`, which the template broadcasts against each other. Triton divides towards zero,
attncc towards minus infinity; where an operand may be negative the printed arithmetic makes up for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import sympy
from sympy.printing.str import StrPrinter

from attncc.errors import BackendError
from attncc.ir.arithmetic import floor_quotient
from attncc.ir.predicate import And, Atom, Constant, Or, Predicate
from attncc.ir.tables import Read, TableData

_SIGN = {"ge": ">=", "eq": "==", "ne": "!="}
#: Comparisons of a predicate that is printed; a chain of `^` has twice as many at each link.
MAX_PRINTED = 1 << 10


class TritonPrinter(StrPrinter):  # type: ignore[misc]
    """Prints expressions; `tables` are (pointer argument, table)."""

    def __init__(self, tables: Iterable[tuple[str, TableData]]) -> None:
        super().__init__()
        self.tables = {table.digest: name for name, table in tables}

    def predicate(self, predicate: Predicate) -> str:
        """Return a predicate as a Boolean expression, fully parenthesised; raises BackendError if it is too long."""
        if predicate.occurrences > MAX_PRINTED:
            raise BackendError(
                f"A predicate of {predicate.occurrences:,} comparisons, those that occur again counted again.",
                rule=f"A kernel evaluates at most {MAX_PRINTED:,} for each pair.",
                fix="Put what depends on i, on j or on i - j alone into tables, or name backend='torch'.",
            )
        if isinstance(predicate, Constant):
            return str(predicate.value)
        if isinstance(predicate, Atom):
            return f"({self.doprint(predicate.expr)} {_SIGN[predicate.relation]} 0)"
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
        dividend, modulus = (f"({self._print(arg)})" for arg in expr.args)
        if expr.args[0].is_nonnegative:
            return f"({dividend} % {modulus})"
        return f"(({dividend} % {modulus} + {modulus}) % {modulus})"

    def _print_floor(self, expr: sympy.floor) -> str:
        numerator, denominator = floor_quotient(expr)
        top, bottom = f"({self._print(numerator)})", f"({self._print(denominator)})"
        if numerator.is_nonnegative:
            return f"({top} // {bottom})"
        return f"(({top} - ({top} % {bottom} + {bottom}) % {bottom}) // {bottom})"

    def _print_Max(self, expr: sympy.Max) -> str:
        return self._folded("tl.maximum", expr.args)

    def _print_Min(self, expr: sympy.Min) -> str:
        return self._folded("tl.minimum", expr.args)

    def _print_Abs(self, expr: sympy.Abs) -> str:
        return f"tl.abs({self._print(expr.args[0])})"

    def _print_Pow(self, expr: sympy.Pow, rational: bool = False) -> str:
        return "(" + " * ".join([f"({self._print(expr.base)})"] * int(expr.exp)) + ")"

    def _print_Read(self, expr: Read) -> str:
        place = self.place(expr.indices, expr.table.data.shape)
        return f"tl.load({self.tables[expr.table.digest]} + {place})"

    def place(self, indices: Sequence[sympy.Expr], shape: Sequence[int]) -> str:
        """Return the offset of an entry, clipped: outside its table it only stands where a guard is false.

        Without dimensions there is one entry, the first.
        """
        offset = ""
        for index, size in zip(indices, shape, strict=True):
            inside = f"tl.minimum(tl.maximum({self._print(index)}, 0), {size - 1})"
            offset = inside if not offset else f"({offset}) * {size} + {inside}"
        return offset or "0"

    def _folded(self, function: str, args: tuple[sympy.Expr, ...]) -> str:
        printed: str
        printed, *rest = sorted(map(self._print, args))
        for arg in rest:
            printed = f"{function}({printed}, {arg})"
        return printed


def named_tables(tables: Iterable[TableData]) -> tuple[tuple[str, TableData], ...]:
    """Return (argument name, table) of tables, in the order of their content."""
    found = sorted(set(tables), key=lambda table: table.digest)
    return tuple((f"table_{number}", table) for number, table in enumerate(found))
