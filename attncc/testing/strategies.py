"""Hypothesis strategies over the whole grammar of patterns, each with a mask that attncc had no part in.

An expression is drawn once, as a function of the interpretation of its names. Under attncc's it builds a predicate;
under numpy's it computes the mask with plain integer arrays.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from hypothesis import reject
from hypothesis import strategies as st

from attncc.errors import PatternError
from attncc.frontend.declared import placeholder as stand_in
from attncc.frontend.language import Index, Table, maximum, minimum, where
from attncc.frontend.lists import Lists
from attncc.frontend.patterns import Pattern
from attncc.ir.condition import predicate_of
from attncc.ir.placeholders import TableKind
from attncc.ir.symbols import NK, NQ, B, H, I, J
from attncc.ir.tables import Array, TableData

LENGTHS = (1, 2, 3, 7, 16, 31, 63, 64, 65, 100, 127, 128, 129, 150)


@dataclass(frozen=True)
class Interpretation:
    """The meaning of the names in a drawn expression: symbols, functions, and tables."""

    i: Any
    j: Any
    h: Any
    b: Any
    n_q: Any
    n_k: Any
    minimum: Callable[..., Any]
    maximum: Callable[..., Any]
    where: Callable[..., Any]
    table: Callable[[Array], Any]
    is_in: Callable[[Any, Array, Any], Any]  # a number, lists, and the row of them


@dataclass(frozen=True)
class Drawn:
    """A drawn expression or condition: how it reads, and how to build it of an interpretation of its names."""

    text: str
    build: Callable[[Any], Any] = field(repr=False)

    def __repr__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Case:
    """A pattern with the mask that it must have: bool (batch, heads, q_len, kv_len)."""

    pattern: Pattern
    subsets: tuple[Drawn, ...]
    q_len: int
    kv_len: int
    q_offset: int
    heads: int
    batch: int
    mask: Array = field(repr=False)

    def __repr__(self) -> str:
        sizes = f"q_len={self.q_len}, kv_len={self.kv_len}, q_offset={self.q_offset}"
        return f"Case({' , '.join(map(str, self.subsets))}; {sizes}, heads={self.heads}, batch={self.batch})"

    @property
    def positions(self) -> range:
        """What covers the positions of queries and keys."""
        return positions(self.q_len, self.kv_len, self.q_offset)

    def names(self, heads: int) -> Interpretation:
        """Return numpy's interpretation for as many heads."""
        return numeric(self.q_len, self.kv_len, self.q_offset, heads, self.batch)


def positions(q_len: int, kv_len: int, q_offset: int) -> range:
    """Return what covers the positions of queries, also without the offset, and keys.

    Where it starts below 0 tables are shifted.
    """
    return range(min(q_offset, 0), max(max(q_offset, 0) + q_len, kv_len))


SYMBOLIC = Interpretation(
    Index.of(I),
    Index.of(J),
    Index.of(H),
    Index.of(B),
    n_q=Index.of(NQ),
    n_k=Index.of(NK),
    minimum=minimum,
    maximum=maximum,
    where=where,
    table=Table,
    is_in=lambda number, lists, row: number.isin(Lists(lists)[row]),
)


def numeric(q_len: int, kv_len: int, q_offset: int, heads: int, batch: int) -> Interpretation:
    """Return numpy's interpretation: positions as int64 arrays that broadcast to (batch, heads, q_len, kv_len)."""
    axes = np.ix_(np.arange(batch), np.arange(heads), np.arange(q_len) + q_offset, np.arange(kv_len))
    b, h, i, j = axes
    lengths = np.int64(q_len), np.int64(kv_len)
    return Interpretation(i, j, h, b, *lengths, np.minimum, np.maximum, np.where, np.asarray, _is_in)


def _is_in(number: Array, lists: Array, row: Array) -> Array:
    number = np.asarray(number)
    listed: Array = (number >= 0) & (number[..., None] == lists[row]).any(-1)
    return listed


_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    **{"<": operator.lt, "<=": operator.le, "==": operator.eq, "!=": operator.ne, ">=": operator.ge, ">": operator.gt},
    **{"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv},
    **{"//": operator.floordiv, "%": operator.mod, "<<": operator.lshift, ">>": operator.rshift},
    **{"&": operator.and_, "|": operator.or_, "^": operator.xor},
}
_COMPARISONS, _LOGIC = st.sampled_from(["<", "<=", "==", "!=", ">=", ">"]), st.sampled_from(["&", "|", "^"])
_DIVISIONS, _SHIFTS = st.sampled_from(["//", "%"]), st.sampled_from(["<<", ">>"])


def _symbol(name: str) -> Drawn:
    return Drawn(name, operator.attrgetter(name))


def binary(a: Drawn | float, sign: str, b: Drawn | float) -> Drawn:
    """An operator between drawn expressions or numbers."""
    left, right = (x if isinstance(x, Drawn) else _number(x) for x in (a, b))
    return Drawn(f"({left} {sign} {right})", lambda names: _OPERATORS[sign](left.build(names), right.build(names)))


def _number(value: float) -> Drawn:
    return Drawn(str(value), lambda names: value)


def _absolute(a: Drawn) -> Drawn:
    return Drawn(f"abs({a})", lambda names: abs(a.build(names)))


def _looked_up(data: Array, *indices: Drawn) -> Drawn:
    text = f"table(shape={data.shape}, {data.ravel()[:6].tolist()}...)[{', '.join(map(str, indices))}]"

    def build(names: Interpretation) -> Any:
        parts = tuple(index.build(names) for index in indices)
        return names.table(data)[parts if len(parts) > 1 else parts[0]]

    return Drawn(text, build)


def _place(name: str, within: range) -> Drawn:
    """A position as the index of a table that has an entry for each of them."""
    symbol = _symbol(name)
    return symbol if within.start == 0 else binary(symbol, "+", -within.start)


@st.composite
def _divisors(draw: st.DrawFn) -> Drawn:
    """Draw a divisor that depends on a position, a head or a length, and is positive."""
    names = [_symbol("j"), _symbol("h"), _symbol("n_k"), binary(_symbol("i"), "%", 5)]
    return binary(1, "+", draw(st.sampled_from(names)))


@st.composite
def _flags(draw: st.DrawFn, within: range) -> Drawn:
    """Draw a look-up of a boolean table."""
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    data = rng.random(len(within)) < draw(st.sampled_from([0.1, 0.5, 0.9]))
    return _looked_up(data, _place(draw(st.sampled_from("ij")), within))


@st.composite
def _tables(draw: st.DrawFn, shape: tuple[int, ...], most: int) -> Array:
    """Draw data from a seed: sorted, or scattered."""
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    data = rng.integers(-1, most, shape)
    return np.sort(data, axis=None).reshape(shape) if draw(st.booleans()) else data


@st.composite
def _look_ups(draw: st.DrawFn, within: range) -> Drawn:
    """Draw a look-up that stays inside its table: one-dimensional, or in blocks of two dimensions."""
    i, j = _place("i", within), _place("j", within)
    length = len(within)
    if draw(st.booleans()):
        data = draw(_tables((length,), draw(st.integers(1, 6))))
        gap = _absolute(binary(_symbol("i"), "-", _symbol("j")))
        return _looked_up(data, draw(st.sampled_from([i, j, gap])))
    block = draw(st.sampled_from([8, 16, 50]))
    blocks = -(-length // block)
    data = draw(_tables((blocks, blocks), 3))
    return _looked_up(data, *(binary(x, "//", block) for x in (i, j)))


@st.composite
def _memberships(draw: st.DrawFn, within: range) -> Drawn:
    """Draw whether a number is in a list: blocks of keys by blocks of queries, or anything by either position."""
    block = draw(st.sampled_from([1, 8, 16, 50]))
    i, j = (binary(_place(name, within), "//", block) for name in "ij")
    row, number = draw(st.sampled_from([(i, j), (i, j), (j, i), (i, draw(expressions(within, 1)))]))
    rows = -(-len(within) // block)
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    lists = rng.integers(-2, rows + 2, (rows, draw(st.integers(1, 5))))
    text = f"{number}.isin(lists(shape={lists.shape}, {lists.ravel()[:6].tolist()}...)[{row}])"
    return Drawn(text, lambda names: names.is_in(number.build(names), lists, row.build(names)))


@st.composite
def expressions(draw: st.DrawFn, within: range, depth: int) -> Drawn:
    """Draw an integer expression over positions `within` a range."""
    number = st.integers(1, 12)
    leaves = st.sampled_from([_symbol(name) for name in ("i", "j", "i", "j", "h", "b", "n_q", "n_k")])
    if depth == 0:
        return draw(leaves)
    a = draw(expressions(within, depth - 1))
    kinds = ["leaf", "gap", "+", "number", "*", "//", "%", "% %", "abs", "extremum", "where", "table"]
    kind = draw(st.sampled_from([*kinds, "by position", "flag", "mask", "bits", "shift", "shift by"]))
    match kind:
        case "gap":
            return binary(_symbol("i"), "-", _symbol("j"))
        case "+":
            return binary(a, draw(st.sampled_from("+-")), draw(expressions(within, depth - 1)))
        case "number":
            return binary(a, "+", draw(st.integers(-60, 60)))
        case "*":
            return binary(a, "*", draw(st.integers(-3, 3)))
        case "//":
            return binary(a, "//", draw(number))
        case "%":
            return binary(a, "%", draw(number))
        case "% %":
            b = binary(draw(expressions(within, depth - 1)), "%", draw(number))
            return binary(binary(a, "*", b), "%", draw(number))
        case "abs":
            return _absolute(a)
        case "extremum":
            name = draw(st.sampled_from(["minimum", "maximum"]))
            b = draw(expressions(within, depth - 1))
            return Drawn(f"{name}({a}, {b})", lambda names: getattr(names, name)(a.build(names), b.build(names)))
        case "where":
            condition, b = draw(conditions(within, 0)), draw(expressions(within, depth - 1))
            text = f"where({condition}, {a}, {b})"
            return Drawn(text, lambda w: w.where(condition.build(w), a.build(w), b.build(w)))
        case "table":
            return draw(_look_ups(within))
        case "by position":
            return binary(a, draw(_DIVISIONS), draw(_divisors()))
        case "flag":
            return binary(a, "+", binary(draw(_flags(within)), "*", draw(number)))
        case "mask":
            return binary(a, draw(_LOGIC), draw(st.integers(-16, 300)))
        case "bits":
            return binary(a, draw(_LOGIC), draw(expressions(within, depth - 1)))
        case "shift":
            return binary(a, draw(_SHIFTS), draw(st.integers(0, 5)))
        case "shift by":
            sign, bits = draw(_SHIFTS), draw(expressions(within, depth - 1))
            return binary(a, sign, binary(bits, "%", draw(st.integers(1, 5))))
    return draw(leaves)


@st.composite
def _bands(draw: st.DrawFn) -> Drawn:
    low, width = draw(st.integers(-40, 80)), draw(st.integers(0, 140))
    text = f"({low} <= i - j < {low + width})"
    return Drawn(text, lambda names: (names.i - names.j >= low) & (names.i - names.j < low + width))


@st.composite
def _fractions(draw: st.DrawFn, within: range) -> Drawn:
    """Draw a comparison of fractions with powers of two below, which numpy's floating point is exact for."""

    def divided() -> Drawn:
        return binary(draw(expressions(within, 1)), "/", draw(st.sampled_from([2, 4, 8])))

    return binary(_absolute(binary(divided(), "-", divided())), draw(_COMPARISONS), draw(st.integers(-20, 60)) / 8)


@st.composite
def _joins(draw: st.DrawFn, within: range) -> Drawn:
    """Draw f(i) == f(j), or a congruence of i - j."""
    i, j = _symbol("i"), _symbol("j")
    modulus = draw(st.sampled_from([2, 3, 5, 8, 16, 33, 64]))
    match draw(st.sampled_from(["mod", "gap", "block", "table", "by position"])):
        case "gap":
            gap = binary(binary(i, "-", j), "%", modulus)
            return binary(gap, "==", draw(st.integers(0, modulus - 1)))
        case "by position":
            divided = binary(draw(st.sampled_from([i, j])), draw(_DIVISIONS), draw(_divisors()))
            return binary(divided, "==", draw(st.integers(0, 2)))
        case "block":
            sides = [binary(x, "//", modulus) for x in (i, j)]
        case "table":
            data = draw(_tables((len(within),), draw(st.integers(1, 9))))
            sides = [_looked_up(data, _place(name, within)) for name in "ij"]
        case _:
            sides = [binary(x, "%", modulus) for x in (i, j)]
    return binary(sides[0], "==", sides[1])


@st.composite
def conditions(draw: st.DrawFn, within: range, depth: int = 3) -> Drawn:
    """Draw a condition on positions `within` a range."""
    if depth == 0 or draw(st.integers(0, 3)) == 0:
        kinds = ["band", "causal", "join", "compare", "filter"]
        others = ["flag", "flag == 1", "constant", "fraction", "membership", "membership"]
        match draw(st.sampled_from([*kinds, *kinds, *others])):
            case "band":
                return draw(_bands())
            case "causal":
                return binary(_symbol("j"), "<=", _symbol("i"))
            case "join":
                return draw(_joins(within))
            case "flag":
                return draw(_flags(within))
            case "flag == 1":
                return binary(draw(_flags(within)), "==", draw(st.integers(0, 1)))
            case "membership":
                return draw(_memberships(within))
            case "constant":
                data = draw(_tables((3,), 2))
                looked_up = Drawn(f"table({data.tolist()})[1]", lambda names: names.table(data)[1])
                return binary(looked_up, ">", 0)
            case "fraction":
                return draw(_fractions(within))
            case "compare":
                left = draw(expressions(within, 1))
                return binary(left, draw(_COMPARISONS), draw(expressions(within, min(depth, 2))))
        filtered = binary(_symbol(draw(st.sampled_from("ij"))), "%", draw(st.integers(2, 40)))
        return binary(filtered, draw(_COMPARISONS), draw(st.integers(0, 12)))
    a = draw(conditions(within, depth - 1))
    sign = draw(st.sampled_from(["&", "&", "|", "|", "^", "~"]))
    if sign == "~":
        return Drawn(f"~{a}", lambda names: ~a.build(names))
    return binary(a, sign, draw(conditions(within, depth - 1)))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Draw a pattern of one to three subsets, sizes, and the mask that it must have."""
    q_len = draw(st.sampled_from(LENGTHS))
    kv_len = draw(st.one_of(st.just(q_len), st.sampled_from(LENGTHS)))
    q_offset = draw(st.sampled_from([0, 0, 0, 1, 37, 128, -1, -50]))
    heads, batch = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    subsets = draw(st.lists(conditions(positions(q_len, kv_len, q_offset)), min_size=1, max_size=3))
    names = numeric(q_len, kv_len, q_offset, heads, batch)
    tables: list[TableData] = []

    def placeholder(table: TableData) -> Any:
        """A template's placeholder for a table, which is bound to it when the pattern is made."""
        tables.append(table)
        return stand_in(f"table_{len(tables)}", len(tables) - 1, TableKind.of(table))

    symbolic = replace(
        SYMBOLIC,
        table=lambda data: placeholder(Table(data)),
        is_in=lambda number, lists, row: number.isin(placeholder(Lists(lists))[row]),
    )
    try:
        pattern = Pattern([predicate_of(subset.build(symbolic)) for subset in subsets], "drawn", None, tables)
    except PatternError as error:
        if "cases" in error.problem:  # a nest of `where` that attncc refuses
            reject()
        raise
    mask = mask_of(subsets, names, (batch, heads, q_len, kv_len))
    return Case(pattern, tuple(subsets), q_len, kv_len, q_offset, heads, batch, mask)


def mask_of(subsets: Sequence[Drawn], names: Interpretation, sizes: tuple[int, int, int, int]) -> Array:
    """Return the pairs of subsets by numpy, bool (batch, heads, q_len, kv_len)."""
    found: Array = np.logical_or.reduce([np.broadcast_to(subset.build(names), sizes) for subset in subsets])
    return found
