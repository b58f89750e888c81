"""Specialisation: lengths, head and batch entry put into a predicate, and checks that become possible then."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import sympy

from attncc.errors import PatternError, TableError
from attncc.ir.arithmetic import floor_quotient
from attncc.ir.interval import Range, bounds, exactly
from attncc.ir.magnitude import LIMIT, magnitude
from attncc.ir.normal import Clause, comparison, spans_of
from attncc.ir.notation import expression
from attncc.ir.predicate import And, Atom, Or, Predicate
from attncc.ir.symbols import NK, NQ, B, H, I, J
from attncc.ir.tables import Read, TableData, TableSymbol
from attncc.planner.shape import Shape


def specialise(predicate: Predicate, shape: Shape, batch: int, head: int) -> Predicate:
    """Return the predicate of one head and batch entry, in i and j alone."""
    values = {NQ: shape.q_len, NK: shape.kv_len, B: batch, H: head}
    present = {symbol: sympy.Integer(value) for symbol, value in values.items() if symbol in predicate.free}
    if not present and all(read_is_plain(read) for atom in predicate.atoms for read in atom.expr.atoms(Read)):
        return predicate
    return predicate.map(lambda atom: _specialised(atom, present))


def _specialised(atom: Atom, values: Mapping[sympy.Symbol, sympy.Integer]) -> Predicate:
    expr = atom.expr.xreplace(values)
    expr = expr.xreplace({read: _sliced(read) for read in expr.atoms(Read)})
    return comparison(atom.relation, expr)


def read_is_plain(read: Read) -> bool:
    """Return whether no index of the look-up is a constant, so that there is nothing to slice off."""
    return not any(index.is_Integer for index in read.indices)


def _sliced(read: Read) -> sympy.Expr:
    """Replace constant leading indices by the slice of the table that they select."""
    constants = []
    for index in read.indices:
        if not index.is_Integer:
            break
        constants.append(int(index))
    if not constants:
        return read
    key = tuple(min(max(c, 0), size - 1) for c, size in zip(constants, read.table.data.shape, strict=False))
    rest = read.indices[len(key) :]
    if not rest:
        return sympy.Integer(int(read.table.data[key]))
    return Read(_slice(read.table, key), *rest)


@lru_cache(maxsize=1024)
def _slice(table: TableData, key: tuple[int, ...]) -> TableSymbol:
    return TableSymbol(TableData(table.data[key], table.name))


def check(predicate: Predicate, shape: Shape) -> None:
    """Raise TableError if a look-up can leave its table where the rest of the predicate lets it matter, and
    PatternError if a divisor isn't shown to be positive or an expression can leave 64 bits.

    The siblings of a comparison guard it: in a conjunction they hold, in a disjunction they don't.
    """
    box = {
        I: (shape.q_offset, shape.q_offset + shape.q_len - 1),
        J: (0, shape.kv_len - 1),
        H: (0, shape.heads - 1),
        B: (0, shape.batch - 1),
        NQ: (shape.q_len, shape.q_len),
        NK: (shape.kv_len, shape.kv_len),
    }
    if not shape.q_len or not shape.kv_len:
        return
    for atom in predicate.atoms:
        _check_divisors(atom.expr, box)
        _check_magnitude(atom.expr, {symbol: high for symbol, (_, high) in box.items()})
    if predicate.tables:
        _check_reads(predicate, Clause({}), box)


def _check_divisors(expr: sympy.Expr, box: Mapping[sympy.Symbol, tuple[int, int]]) -> None:
    ranges: dict[sympy.Symbol, Range] = {s: (exactly(low), exactly(high)) for s, (low, high) in box.items()}
    divisors = [mod.args[1] for mod in expr.atoms(sympy.Mod)]
    divisors += [floor_quotient(floor)[1] for floor in expr.atoms(sympy.floor)]
    for divisor in divisors:
        low = int(bounds(divisor, ranges)[0][0])
        if low < 1:
            given = ", ".join(f"{s} up to {high}" for s, (_, high) in box.items() if s in divisor.free_symbols)
            raise PatternError(
                f"The divisor or modulus {expression(divisor)} can be {low}, for {given}.",
                rule="Divisors and moduli are positive.",
                fix="Guard it, for example with attncc.maximum(1, n_k // 8).",
            )


def _check_magnitude(expr: sympy.Expr, largest: Mapping[sympy.Symbol, int]) -> None:
    reached = magnitude(expr, largest)
    if reached >= LIMIT:
        raise PatternError(
            f"Intermediate results of {expression(expr)} reach {reached:.2e} at these lengths.",
            rule="Arithmetic on positions is in 64 bits, so they stay below 2^63.",
            fix="Compare smaller powers, or number a table's values: np.unique(table, return_inverse=True)[1].",
        )


def _check_reads(
    predicate: Predicate,
    guard: Clause | None,
    box: Mapping[sympy.Symbol, tuple[int, int]],
) -> None:
    if guard is None:
        return
    if isinstance(predicate, Atom):
        for read in predicate.expr.atoms(Read):
            _check_read(read, guard, box)
    elif isinstance(predicate, And | Or):
        for arg in predicate.args:
            siblings = [s for s in predicate.args if s is not arg and isinstance(s, Atom)]
            inner: Clause | None = guard
            for sibling in siblings:
                inner = inner and _guarded(inner, sibling if isinstance(predicate, And) else sibling.negated())
            _check_reads(arg, inner, box)


def _guarded(guard: Clause, sibling: Predicate) -> Clause | None:
    """Return the guard with a sibling comparison added, or None if both can't hold."""
    assert isinstance(sibling, Atom)
    if sibling.expr.has(Read):
        return guard
    spans = spans_of(sibling)
    if len(spans) != 1:
        return None
    return guard.meet(Clause({spans[0].form: spans[0]}))


def _check_read(read: Read, guard: Clause, box: Mapping[sympy.Symbol, tuple[int, int]]) -> None:
    narrowed = {symbol: _narrowed(symbol, limits, guard) for symbol, limits in box.items()}
    if any(low > high for low, high in narrowed.values()):
        return
    arrays: dict[sympy.Symbol, Range] = {s: (exactly(low), exactly(high)) for s, (low, high) in narrowed.items()}
    for axis, (index, size) in enumerate(zip(read.indices, read.table.data.shape, strict=True)):
        low, high = _index_bounds(index, arrays, guard)
        if low <= high and (low < 0 or high >= size):
            raise TableError(
                f"Table {read.table.name!r} has {size} entries along axis {axis}, "
                f"but its index {expression(index)} runs from {low} to {high}.",
                rule="Every look-up lies inside the table, for all positions that the rest of the predicate admits.",
                fix=f"Pass a table with {high + 1} entries, or guard the look-up, "
                "as in (0 <= i - j) & (i - j < 64) & (t[i - j] != 0).",
            )


def _narrowed(symbol: sympy.Symbol, limits: tuple[int, int], guard: Clause) -> tuple[int, int]:
    span = guard.spans.get(symbol)
    if span is None:
        return limits
    low = limits[0] if span.low is None else max(limits[0], span.low)
    return low, limits[1] if span.high is None else min(limits[1], span.high)


def _index_bounds(index: sympy.Expr, box: Mapping[sympy.Symbol, Range], guard: Clause) -> tuple[int, int]:
    """Bound an index over the box, and by the guards on the same form or its negation."""
    low, high = (int(x[0]) for x in bounds(index, box))
    for span in guard.spans.values():
        for sign in (1, -1):
            difference = index - sign * span.form
            if difference.is_Integer:
                shift = int(difference)
                ends = (span.low, span.high) if sign > 0 else (_negative(span.high), _negative(span.low))
                low = low if ends[0] is None else max(low, ends[0] + shift)
                high = high if ends[1] is None else min(high, ends[1] + shift)
    return low, high


def _negative(value: int | None) -> int | None:
    return None if value is None else -value


__all__ = ["check", "specialise"]
