"""The size of a pattern: what its algebra answers for in seconds, and without running out of stack or memory.

sympy's simplification of a remainder, minimum or maximum grows with the cube of the terms, or worse. At the bounds on
terms and on nested functions it still takes about a second.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import sympy

from attncc._util import caching
from attncc.errors import PatternError
from attncc.ir.predicate import Predicate
from attncc.ir.tables import Read

#: Different comparisons of a pattern.
MAX_COMPARISONS = 1 << 12
#: Different symbols and tables of a pattern.
MAX_NAMES = 1 << 8
#: Operations on the longest way from a comparison or expression down to a symbol.
MAX_DEPTH = 128
#: Of those, remainders, quotients, absolute values, minima and maxima.
MAX_FUNCTIONS = 32
#: Terms of what `%` is taken of, products written out.
MAX_TERMS = 24
#: Arguments of a minimum or maximum.
MAX_ARGUMENTS = 16
#: Terms of any expression, products written out.
MAX_EXPANDED = 1 << 8


@dataclass(frozen=True)
class Size:
    """Depth of an expression, of functions alone, and its terms when products of sums are written out."""

    depth: int
    functions: int
    terms: int


@caching.algebra(1 << 14)
def size(expr: sympy.Expr) -> Size:
    """Return the size of an index expression; what it is made of was asked for before, so that recursion is shallow."""
    if not expr.args or isinstance(expr, sympy.Atom):
        return Size(0, 0, 1)
    inner = [size(arg) for arg in expr.args if not isinstance(arg, sympy.Rational)] or [Size(0, 0, 1)]
    terms = [part.terms for part in inner]
    match expr:
        case sympy.Add():
            written_out, function = sum(terms), 0
        case sympy.Mul():
            written_out, function = math.prod(terms), 0
        case sympy.Pow():
            written_out, function = terms[0] ** abs(int(expr.exp)), 0
        case Read():
            written_out, function = 1, 0
        case _:
            written_out, function = 1, 1
    depth = 1 + max(part.depth for part in inner)
    return Size(depth, function + max(part.functions for part in inner), written_out)


def checked(expr: sympy.Expr) -> sympy.Expr:
    """Return an expression; raises PatternError if it is too large."""
    found = size(expr)
    _require("An index expression nests {} operations", found.depth, MAX_DEPTH, _TABLES)
    _require("An index expression nests {} of // % abs, minimum and maximum", found.functions, MAX_FUNCTIONS, _TABLES)
    _require("An index expression has {} terms, products written out", found.terms, MAX_EXPANDED, _TABLES)
    return expr


def check_dividend(expr: sympy.Expr) -> None:
    """Raise PatternError if what `%` is taken of has too many terms."""
    _require("`%` was taken of {} terms, products written out", size(expr).terms, MAX_TERMS, _TABLES)


def extremum(function: type[sympy.Expr], *args: sympy.Expr) -> sympy.Expr:
    """Return sympy's minimum or maximum; raises PatternError if it is of too many arguments."""
    number = sum(len(arg.args) if isinstance(arg, sympy.Min | sympy.Max) else 1 for arg in args)
    _require("A minimum or maximum has {} arguments", number, MAX_ARGUMENTS, _TABLES)
    return function(*args)


def check_condition(predicate: Predicate) -> None:
    """Raise PatternError if a condition nests too deep or has too many comparisons."""
    _require("A condition nests {} operations", predicate.depth, MAX_DEPTH, _FLAT)
    _require("A condition has {} comparisons", len(predicate.atoms), MAX_COMPARISONS, _FLAT)


def check_pattern(predicate: Predicate) -> None:
    """Raise PatternError if a pattern is too large in any way."""
    check_condition(predicate)
    names = len(predicate.free) + len(predicate.tables)
    _require("A pattern has {} symbols and tables", names, MAX_NAMES, _ONE_TABLE)


_TABLES = "Put the values into a table and look it up: annotate a parameter with attncc.Table and write table[i]."
_FLAT = (
    "Put what depends on i, on j or on i - j alone into a boolean table, as in table[i] & table[j]; a ^ nests twice."
)
_ONE_TABLE = "Stack tables into one of two dimensions, as in table[3, i]."


def _require(problem: str, value: int, most: int, fix: str) -> None:
    if value > most:
        raise PatternError(f"{problem.format(f'{value:,}')}.", rule=f"At most {most:,} are supported.", fix=fix)
