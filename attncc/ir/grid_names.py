"""Names of the coordinates of positions on a grid: formulas have i₁ and i₂ in place of ⌊i / 64⌋ and i mod 64."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import sympy

from attncc.ir.arithmetic import floor_quotient
from attncc.ir.fitting import wanted
from attncc.ir.quotient import FloorDiv
from attncc.ir.remainder import Mod
from attncc.ir.symbols import I, J

_SUBSCRIPT = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
#: Stands for the position of a query or of a key.
_POSITION = sympy.Symbol("x", integer=True)


@dataclass(frozen=True)
class GridNames:
    """What is left out of formulas, and what is named in them.

    Attributes:
        lengths: The number of queries or keys that a grid is for, by symbol.
        coordinates: Coordinates of `x`, the first axis first; none where positions aren't looked at by more than one.
    """

    lengths: dict[sympy.Symbol, int]
    coordinates: tuple[sympy.Expr, ...]

    @classmethod
    def of(cls, forms: Iterable[sympy.Expr]) -> GridNames:
        """Return the names for expressions: coordinates are those of queries that are those of keys, too."""
        found = list(forms)
        divisors = {quotient.args[1] for form in found for quotient in form.atoms(FloorDiv)}
        lengths = dict(sorted(filter(None, map(wanted, divisors)), key=str))  # the same text in every process
        plain = [without_lengths(form) for form in found]
        return cls(lengths, _coordinates(_radices(plain)))

    def named(self) -> dict[sympy.Expr, str]:
        """Return the name of each coordinate of a query and of a key."""
        numbered = [(each, str(axis).translate(_SUBSCRIPT)) for axis, each in enumerate(self.coordinates, start=1)]
        return {each.subs(_POSITION, symbol): f"{symbol}{axis}" for each, axis in numbered for symbol in (I, J)}

    def legend(self, printed: Callable[[sympy.Expr], str]) -> str:
        """Return what the names stand for, printed without them, and the lengths; empty where there are none."""
        parts = [f"{symbol} = {length}" for symbol, length in self.lengths.items()]
        if self.coordinates:
            names = ", ".join(name for expr, name in self.named().items() if I in expr.free_symbols)
            values = ", ".join(printed(each.subs(_POSITION, I)) for each in self.coordinates)
            parts = [f"({names}) = ({values})", "j likewise", *parts]
        return ", ".join(parts)


def without_lengths(expr: sympy.Expr) -> sympy.Expr:
    """Return an expression at the lengths that its grids are for, where their divisors are 1."""
    return expr.replace(lambda part: isinstance(part, FloorDiv) and wanted(part.args[1]), lambda part: part.args[0])


def _radices(forms: Sequence[sympy.Expr]) -> dict[sympy.Expr, tuple[sympy.Expr, sympy.Expr]]:
    """Return (q, r) by ⌊q / r⌋, for expressions q of a position whose remainders by r forms have of query and key."""
    remainders, quotients = (_of_positions(forms, kind) for kind in (sympy.Mod, sympy.floor))
    divided = {part: floor_quotient(part) for part in quotients[I] | quotients[J]}
    both = remainders[I] & remainders[J]
    return {part: (q, r) for part, (q, r) in divided.items() if r.is_Integer and Mod(q, r) in both}


def _of_positions(forms: Sequence[sympy.Expr], kind: type[sympy.Expr]) -> dict[sympy.Symbol, set[sympy.Expr]]:
    """Return the parts of a kind that look at one position alone, at `x` in its place."""
    parts = {part for form in forms for part in form.atoms(kind)}
    return {x: {part.subs(x, _POSITION) for part in parts if part.free_symbols == {x}} for x in (I, J)}


def _coordinates(radices: dict[sympy.Expr, tuple[sympy.Expr, sympy.Expr]]) -> tuple[sympy.Expr, ...]:
    """Return the digits of the longest chain of radices: the quotient by one is what the next one divides."""

    def chain(last: sympy.Expr) -> list[sympy.Expr]:
        q, r = radices.get(last, (None, None))
        return [] if q is None else [*chain(q), Mod(q, r)]

    if not radices:
        return ()
    first = max(radices, key=lambda last: (len(chain(last)), str(last)))
    return (first, *reversed(chain(first)))
