"""The nodes of programs, as they are written down: an entry of NODES for each class of expression and predicate.

A pattern or score is written as a list of nodes, each after the parts it is made of (attncc.ir.codec). Nothing but
these entries is ever built from a text, and each says which sorts of parts it takes. A new class is a new entry.
"""

from __future__ import annotations

import enum
import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any

import sympy

from attncc.ir import bits, comparisons, functions, size
from attncc.ir.lists import IsMember, is_canonical
from attncc.ir.placeholders import Placeholder, described, parsed
from attncc.ir.predicate import FALSE, TRUE, And, Atom, Constant, Or, conjunction, disjunction
from attncc.ir.quotient import FloorDiv
from attncc.ir.remainder import Mod
from attncc.ir.symbols import BY_NAME, SCORE
from attncc.ir.tables import MAX_DIMENSIONS, Read, TableSymbol

#: Digits of a whole number; the largest floating-point number has 309.
MAX_DIGITS = 400
#: Size of an exponent: powers are at most 8, and products of powers become larger ones.
MAX_EXPONENT = 64


class MalformedError(Exception):
    """A node is not what its entry takes; attncc.ir.codec says of which program."""


class Sort(enum.Flag):
    """What a node may stand for; a whole number is an index, a quotient and a real number alike."""

    INDEX = enum.auto()
    #: An integer expression divided by numbers or lengths: what a floor is taken of.
    QUOTIENT = enum.auto()
    REAL = enum.auto()
    CONDITION = enum.auto()
    #: What a choice depends on.
    GUARD = enum.auto()
    TABLE = enum.auto()
    WEIGHTS = enum.auto()


NOTHING = Sort(0)
INTEGRAL = Sort.INDEX | Sort.QUOTIENT
NUMBER = INTEGRAL | Sort.REAL

#: From the parts and their sorts to the sort of the node, NOTHING where it doesn't take them.
Rule = Callable[[Sequence[Any], Sequence[Sort]], Sort]


@dataclass(frozen=True)
class Node:
    """A class of nodes: its tag, how it is taken apart, and how it is built of its parts, or of the fields of a leaf.

    Attributes:
        fields: A leaf's JSON values; None for what is made of parts.
        unordered: The order of the parts means nothing.
        check: Raises MalformedError or PatternError for parts that would take too long to simplify.
        includes: Whether a node of the class is one of the entry.
    """

    tag: str
    type: type
    build: Callable[..., Any]
    rule: Rule
    fields: Callable[[Any], list[Any]] | None = None
    parts: Callable[[Any], Sequence[Any]] = lambda node: node.args
    unordered: bool = False
    check: Callable[..., object] = lambda *parts: None
    includes: Callable[[Any], bool] = lambda node: True


def takes(*sorts: Sort, gives: Sort) -> Rule:
    """Return the rule of a node of parts of these sorts."""

    def rule(parts: Sequence[Any], found: Sequence[Sort]) -> Sort:
        fits = len(found) == len(sorts) and all(a & b for a, b in zip(found, sorts, strict=True))
        return gives if fits else NOTHING

    return rule


def looks_up(data: Sort, dimensions: Callable[[Any], int], gives: Sort) -> Rule:
    """Return the rule of a look-up: of data, by an index for each of its dimensions."""

    def rule(parts: Sequence[Any], found: Sequence[Sort]) -> Sort:
        fits = found and found[0] is data and len(found) == 1 + dimensions(parts[0])
        return gives if fits and all(sort & Sort.INDEX for sort in found[1:]) else NOTHING

    return rule


def alike(among: Sort) -> Rule:
    """Return the rule of a node of two or more parts of one sort, which is also the node's."""
    return lambda parts, found: reduce(operator.and_, found, among) if len(found) > 1 else NOTHING


def all_of(sort: Sort, gives: Sort) -> Rule:
    """Return the rule of a node of two or more parts of a sort."""
    return lambda parts, found: gives if len(found) > 1 and all(part & sort for part in found) else NOTHING


def leaf(tag: str, type_: type, fields: Callable[[Any], list[Any]], build: Callable[..., Any], gives: Sort) -> Node:
    """Return the entry of a class of leaves."""
    return Node(tag, type_, build, takes(gives=gives), fields)


def function(tag: str, type_: type, sort: Sort, arguments: int = 1) -> Node:
    """Return the entry of a function of integers, Sort.INDEX, or of real numbers, Sort.REAL."""
    return Node(tag, type_, type_, takes(*[sort] * arguments, gives=INTEGRAL if sort is Sort.INDEX else sort))


def joint(tag: str, type_: type, sort: Sort, gives: Sort) -> Node:
    """Return the entry of what joins two or more parts in any order."""
    return Node(tag, type_, type_, all_of(sort, gives), unordered=True)


def comparison(relation: Any) -> Node:
    """Return the entry of the atoms of a relation."""
    return Node(
        relation,
        Atom,
        lambda expr: Atom(relation, expr),
        takes(Sort.INDEX, gives=Sort.CONDITION),
        parts=lambda atom: (atom.expr,),
        includes=lambda atom: atom.relation == relation,
    )


def _integer(digits: object) -> sympy.Integer:
    if not isinstance(digits, str):
        raise MalformedError(f"{digits!r:.60} is not a whole number")
    text = digits.removeprefix("-")
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS):
        raise MalformedError(f"{digits!r:.60} is not a whole number of at most {MAX_DIGITS} digits")
    return sympy.Integer(int(digits))


def _fraction(numerator: object, denominator: object) -> sympy.Rational:
    above, below = _integer(numerator), _integer(denominator)
    if below <= 0:
        raise MalformedError(f"{denominator!r:.60} is not a denominator")
    return sympy.Rational(above, below)


def _double(expr: sympy.Float) -> list[Any]:
    value = float(expr)
    if not math.isfinite(value) or sympy.Float(value) != expr:
        raise MalformedError(f"{expr} is not a double")
    return [value.hex()]


def _float(text: object) -> sympy.Float:
    try:
        value = float.fromhex(text)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        value = math.nan
    if not math.isfinite(value):
        raise MalformedError(f"{text!r:.60} is not a finite number in hexadecimal")
    return sympy.Float(value)


def _symbol(name: object) -> sympy.Symbol:
    if not isinstance(name, str) or name not in BY_NAME:
        raise MalformedError(f"{name!r:.60} is not one of {', '.join(BY_NAME)}")
    return BY_NAME[name]


def _truth(value: object) -> Constant:
    if not isinstance(value, bool):
        raise MalformedError(f"{value!r:.60} is not true or false")
    return TRUE if value else FALSE


def _weights(slot: object, shape: object, label: object) -> functions.WeightsSymbol:
    sizes = shape if isinstance(shape, list) else []
    whole = all(type(number) is int and 0 <= number < 1 << 62 for number in (slot, *sizes))
    if not whole or not isinstance(shape, list) or len(sizes) > MAX_DIMENSIONS or not isinstance(label, str):
        raise MalformedError(f"{[slot, shape, label]!r:.60} are not the slot, the sizes and the name of weights")
    return functions.WeightsSymbol(slot, tuple(sizes), label)  # type: ignore[arg-type]


def _table(table: object) -> TableSymbol:
    """Build a table's symbol; attncc.ir.codec finds the table by name and hash."""
    return TableSymbol(table)  # type: ignore[arg-type]


def _slot(number: object, name: object, *kind: object) -> TableSymbol:
    """Build the symbol of a placeholder."""
    if type(number) is not int or not 0 <= number < 1 << 16 or not isinstance(name, str) or len(kind) != 4:
        raise MalformedError(f"{[number, name, *kind]!r:.60} are not the number, name and kind of a slot")
    try:
        return TableSymbol(Placeholder(name, number, parsed(*kind)))
    except ValueError as error:
        raise MalformedError(str(error)) from None


def _power(parts: Sequence[Any], found: Sequence[Sort]) -> Sort:
    if len(parts) != 2 or not parts[1].is_Integer:
        return NOTHING
    return found[0] & (NUMBER if parts[1] >= 0 else Sort.QUOTIENT | Sort.REAL)


def _check_power(base: sympy.Expr, exponent: sympy.Integer) -> None:
    """A power of a number is written as a number: else a short text could ask for a billion digits."""
    if base.is_Number or abs(exponent) > MAX_EXPONENT:
        raise MalformedError(f"{base!s:.60} is raised to the power {exponent!s:.60}")


def _check_lists(symbol: TableSymbol, *indices: sympy.Expr) -> None:
    table = symbol.table
    if not (table.is_lists if table.is_placeholder else is_canonical(table.data)):
        raise MalformedError(f"the rows of {symbol.table.name!r:.40} aren't lists, which ascend")


def _check_remainder(dividend: sympy.Expr, divisor: sympy.Expr) -> None:
    size.check_dividend(dividend)


NODES = (
    # Numbers, symbols and data.
    leaf("integer", sympy.Integer, lambda n: [str(int(n))], _integer, NUMBER),
    leaf("fraction", sympy.Rational, lambda n: [str(n.p), str(n.q)], _fraction, Sort.QUOTIENT | Sort.REAL),
    leaf("float", sympy.Float, _double, _float, Sort.REAL),
    leaf("e", type(sympy.E), lambda _: [], lambda: sympy.E, Sort.REAL),
    leaf("-inf", type(sympy.S.NegativeInfinity), lambda _: [], lambda: sympy.S.NegativeInfinity, Sort.REAL),
    Node("score", sympy.Symbol, lambda: SCORE, takes(gives=Sort.REAL), lambda _: [], includes=lambda s: s == SCORE),
    leaf("symbol", sympy.Symbol, lambda symbol: [symbol.name], _symbol, INTEGRAL),
    Node(
        "slot",
        TableSymbol,
        _slot,
        takes(gives=Sort.TABLE),
        lambda symbol: [symbol.table.number, symbol.table.name, *described(symbol.table.kind)],
        includes=lambda symbol: symbol.table.is_placeholder,
    ),
    leaf("table", TableSymbol, lambda s: [s.table.name, s.table.digest], _table, Sort.TABLE),
    leaf("weights", functions.WeightsSymbol, lambda w: [w.slot, list(w.shape), w.label], _weights, Sort.WEIGHTS),
    # Arithmetic of integers or of real numbers.
    Node("add", sympy.Add, sympy.Add, alike(NUMBER), unordered=True),
    Node("mul", sympy.Mul, sympy.Mul, alike(NUMBER), unordered=True),
    Node("pow", sympy.Pow, sympy.Pow, _power, check=_check_power),
    # Integers.
    Node("floor", sympy.floor, sympy.floor, takes(Sort.QUOTIENT, gives=INTEGRAL)),
    Node("mod", sympy.Mod, Mod, takes(Sort.INDEX, Sort.INDEX, gives=INTEGRAL), check=_check_remainder),
    function("abs", sympy.Abs, Sort.INDEX),
    Node("min", sympy.Min, partial(size.extremum, sympy.Min), alike(INTEGRAL), unordered=True),
    Node("max", sympy.Max, partial(size.extremum, sympy.Max), alike(INTEGRAL), unordered=True),
    function("floordiv", FloorDiv, Sort.INDEX, 2),
    joint("bitand", bits.BitAnd, Sort.INDEX, INTEGRAL),
    joint("bitor", bits.BitOr, Sort.INDEX, INTEGRAL),
    joint("bitxor", bits.BitXor, Sort.INDEX, INTEGRAL),
    function("shl", bits.LeftShift, Sort.INDEX, 2),
    function("shr", bits.RightShift, Sort.INDEX, 2),
    Node("read", Read, Read, looks_up(Sort.TABLE, lambda symbol: symbol.table.ndim, INTEGRAL)),
    Node(
        "member",
        IsMember,
        IsMember,
        looks_up(Sort.TABLE, lambda symbol: symbol.table.ndim, INTEGRAL),  # the row's indices, and the number
        check=_check_lists,
    ),
    # Real numbers.
    Node("real", functions.AsReal, functions.AsReal, takes(Sort.INDEX, gives=Sort.REAL)),
    Node(
        "lookup",
        functions.Lookup,
        functions.Lookup,
        looks_up(Sort.WEIGHTS, lambda symbol: len(symbol.shape), Sort.REAL),
    ),
    function("exp", sympy.exp, Sort.REAL),
    function("tanh", sympy.tanh, Sort.REAL),
    function("log", functions.Logarithm, Sort.REAL),
    function("sqrt", functions.Root, Sort.REAL),
    function("sin", functions.Sine, Sort.REAL),
    function("cos", functions.Cosine, Sort.REAL),
    function("erf", functions.ErrorFunction, Sort.REAL),
    function("magnitude", functions.Magnitude, Sort.REAL),
    function("sign", functions.Sign, Sort.REAL),
    function("smaller", functions.Smaller, Sort.REAL, 2),
    function("larger", functions.Larger, Sort.REAL, 2),
    Node("choice", functions.Choice, functions.Choice, takes(Sort.GUARD, Sort.REAL, Sort.REAL, gives=Sort.REAL)),
    Node(
        "condition",
        functions.ConditionSymbol,
        functions.ConditionSymbol,
        takes(Sort.CONDITION, gives=Sort.GUARD),
        parts=lambda symbol: (symbol.predicate,),
    ),
    # Comparisons of real numbers, and what joins them with conditions on positions.
    *(
        Node(tag, type_, type_, takes(Sort.REAL, Sort.REAL, gives=Sort.GUARD))
        for tag, type_ in (("below", comparisons.Below), ("at_most", comparisons.AtMost), ("same", comparisons.Same))
    ),
    joint("both", comparisons.Conjunction, Sort.GUARD, Sort.GUARD),
    joint("either", comparisons.Disjunction, Sort.GUARD, Sort.GUARD),
    Node("not", comparisons.Negation, comparisons.Negation, takes(Sort.GUARD, gives=Sort.GUARD)),
    # Predicates.
    leaf("constant", Constant, lambda constant: [constant.value], _truth, Sort.CONDITION),
    *map(comparison, ("ge", "eq", "ne")),
    Node("and", And, lambda *parts: conjunction(parts), alike(Sort.CONDITION), unordered=True),
    Node("or", Or, lambda *parts: disjunction(parts), alike(Sort.CONDITION), unordered=True),
)

BY_TAG = {node.tag: node for node in NODES}


def node_of(value: Any) -> Node:
    """Return the entry of an expression or predicate; raises MalformedError if it has none."""
    for type_ in type(value).__mro__:
        for node in _BY_TYPE.get(type_, ()):
            if node.includes(value):
                return node
    raise MalformedError(f"{type(value).__name__} has no entry in attncc.ir.nodes")


_BY_TYPE: dict[type, list[Node]] = {}
for _node in NODES:
    _BY_TYPE.setdefault(_node.type, []).append(_node)
