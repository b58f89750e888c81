"""Checks that need lengths: divisors, 64-bit arithmetic, and look-ups that stay inside their tables and weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Protocol

import sympy

from attncc._util import caching
from attncc.errors import PatternError, ShapeError, TableError
from attncc.ir.arithmetic import floor_quotient, whole_floors
from attncc.ir.bits import MAX_SHIFT, LeftShift, RightShift
from attncc.ir.comparisons import Conjunction, implied
from attncc.ir.fitting import wanted
from attncc.ir.functions import AsReal, Choice, ConditionSymbol, Lookup
from attncc.ir.interval import Range, bounds, exact_box, exactly
from attncc.ir.lists import IsMember
from attncc.ir.magnitude import LIMIT, magnitude
from attncc.ir.normal import Clause, TooManyClausesError, clauses, spans_of
from attncc.ir.notation import expression
from attncc.ir.predicate import And, Atom, Connective, Predicate, conjunction
from attncc.ir.quotient import FloorDiv
from attncc.ir.score import ScoreExpression
from attncc.ir.span import Span
from attncc.ir.symbols import NK, NQ, B, H, I, J
from attncc.ir.tables import Read, TableData
from attncc.planner.shape import Shape

#: Parts under guards that are looked at one by one.
MAX_GUARDED = 1 << 10
#: Stands for a form that a guard bounds.
_BOUNDED = sympy.Dummy(integer=True)

#: Least and greatest value of each symbol.
Limits = Mapping[sympy.Symbol, tuple[int, int]]


def check(predicate: Predicate, shape: Shape, told: object = None) -> None:
    """Raise TableError if a look-up can leave its table where the rest of the predicate lets it matter. Raise
    PatternError if a divisor isn't shown to be positive, a shift to be in range, or an expression to fit 64 bits. Raise
    ShapeError for a length that a grid doesn't multiply to.

    The siblings of a comparison guard it: in a conjunction they hold, in a disjunction they don't. `told` is what a
    message is about, by default the predicate.
    """
    limits = limits_of(shape)
    if not shape.q_len or not shape.kv_len:
        return
    check_lengths(predicate, shape, predicate if told is None else told)
    for atom in predicate.atoms:
        check_arithmetic(atom.expr, limits)
    if predicate.tables:
        _check_reads(predicate, Clause({}), limits, set())


def check_lengths(predicate: Predicate, shape: Shape, told: object) -> None:
    """Raise ShapeError for a length that a grid doesn't multiply to."""
    lengths = {NQ: ("queries", shape.q_len), NK: ("keys", shape.kv_len)} if {NQ, NK} & predicate.free else {}
    for quotient in {quotient for atom in predicate.atoms for quotient in atom.expr.atoms(FloorDiv)} if lengths else ():
        symbol, tokens = wanted(quotient.args[1]) or (None, 0)
        what, number = lengths.get(symbol, ("", tokens))
        if number != tokens:
            raise ShapeError(
                f"{number:,} {what} for {told!r}.",
                rule=f"The axes of its grid multiply to {tokens:,}, with the tokens beside the grid.",
                fix="Give its axes the lengths that the grid has, and the tokens beside it theirs.",
            )


@caching.algebra(1024)
def reads_of(predicate: Predicate) -> tuple[Read, ...]:
    """Return the look-ups of a predicate."""
    return tuple({read for atom in predicate.atoms for read in atom.expr.atoms(Read)})


class HasPredicate(Protocol):
    """A pattern, or a prepared one."""

    @property
    def predicate(self) -> Predicate: ...


def check_score(score: ScoreExpression, pattern: HasPredicate, shape: Shape) -> None:
    """Raise what `check` does for a score's index expressions, conditions, and look-ups of tables and weights.

    Only pairs that the pattern connects count, and in a choice only those that its branch is for.
    """
    if score.is_identity or not shape.q_len or not shape.kv_len:
        return
    limits = limits_of(shape)
    for index in score.indices():
        check_arithmetic(index, limits)
    for condition in score.predicates:
        for atom in condition.atoms:
            check_arithmetic(atom.expr, limits)
    if score.lookups or score.tables:
        _check_branch(score.expr, _clauses(pattern.predicate), limits)


#: The least and greatest value of each symbol at a shape.
ENDS: Mapping[sympy.Symbol, Callable[[Shape], tuple[int, int]]] = {
    I: lambda shape: (shape.q_offset, shape.q_offset + shape.q_len - 1),
    J: lambda shape: (0, shape.kv_len - 1),
    H: lambda shape: (0, shape.heads - 1),
    B: lambda shape: (0, shape.batch - 1),
    NQ: lambda shape: (shape.q_len, shape.q_len),
    NK: lambda shape: (shape.kv_len, shape.kv_len),
}


def limits_of(shape: Shape) -> Limits:
    """Return the least and greatest value of each symbol."""
    return {symbol: ends(shape) for symbol, ends in ENDS.items()}


def _clauses(predicate: Predicate) -> list[Clause]:
    """Return clauses whose union holds wherever `predicate` does."""
    try:
        return list(clauses(predicate))
    except TooManyClausesError:
        return [Clause({})]


def _check_branch(expr: sympy.Expr, guards: list[Clause], limits: Limits) -> None:
    """Check the look-ups of a real expression, or condition, that is used only where one of `guards` holds."""
    if isinstance(expr, Choice):
        condition, yes, no = expr.args
        _check_branch(condition, guards, limits)
        _check_branch(yes, _met(guards, implied(condition)), limits)
        _check_branch(no, _met(guards, implied(condition, False)), limits)
    elif isinstance(expr, ConditionSymbol):
        for guard in guards:
            _check_reads(expr.predicate, guard, limits, set())
    elif isinstance(expr, Conjunction):
        for arg in expr.args:  # where the others don't hold it doesn't matter
            others = [implied(other) for other in expr.args if other is not arg]
            _check_branch(arg, _met(guards, conjunction(others)), limits)
    elif isinstance(expr, AsReal | Lookup):
        for read in expr.atoms(Read, Lookup):
            for guard in guards:
                _check_read(read, guard, limits)
    else:
        for arg in expr.args:
            _check_branch(arg, guards, limits)


def _met(guards: list[Clause], predicate: Predicate) -> list[Clause]:
    """Return the clauses of the guards where a predicate holds, too."""
    return [met for a in guards for b in _clauses(predicate) if (met := a.meet(b)) is not None]


def check_arithmetic(expr: sympy.Expr, limits: Limits) -> None:
    """Raise PatternError for a divisor, a shift, or an intermediate result of 64 bits that leaves its range."""
    _check_operands(expr, limits)
    _check_magnitude(expr, {symbol: max(-low, high) for symbol, (low, high) in limits.items()})


def _check_operands(expr: sympy.Expr, limits: Limits) -> None:
    """Raise PatternError for a divisor that can be below 1, or a shift by a number of bits out of range."""
    found = expr.atoms(sympy.Mod, sympy.floor, FloorDiv, LeftShift, RightShift)
    if not found:
        return
    box = exact_box(limits)

    def require(what: str, operand: sympy.Expr, least: int, most: float, rule: str, fix: str) -> None:
        low, high = (int(end[0]) for end in bounds(operand, box))
        if low < least or high > most:
            given = ", ".join(f"{s} up to {high}" for s, (_, high) in limits.items() if s in operand.free_symbols)
            raise PatternError(
                f"The {what} {expression(operand)} can be {low if low < least else high}"
                + (f", for {given}." if given else "."),
                rule=rule,
                fix=fix,
            )

    for node in found:
        if isinstance(node, LeftShift | RightShift):
            rule = f"Shifts are by 0 to {MAX_SHIFT} bits, at all positions that there are."
            require("shift by", node.args[1], 0, MAX_SHIFT, rule, "Guard it, as in i >> attncc.minimum(h, 4).")
        else:
            divisor = node.args[1] if isinstance(node, sympy.Mod) else floor_quotient(node)[1]
            rule = "Divisors and moduli are positive, at all positions that there are."
            fix = "Guard it, as in i // attncc.maximum(1, n_k // 8)."
            require("divisor or modulus", divisor, 1, math.inf, rule, fix)


def _check_magnitude(expr: sympy.Expr, largest: Mapping[sympy.Symbol, int]) -> None:
    reached = magnitude(expr, largest)
    if reached >= LIMIT:
        raise PatternError(
            f"Intermediate results of {expression(expr)} reach {Decimal(reached):.2e} at these lengths.",
            rule="Arithmetic on positions is in 64 bits, so they stay below 2^63.",
            fix="Compare smaller powers, or number a table's values: np.unique(table, return_inverse=True)[1].",
        )


def _check_reads(
    predicate: Predicate, guard: Clause | None, limits: Limits, seen: set[tuple[Predicate, Clause]]
) -> None:
    """Check the look-ups of a predicate that matters only where `guard` holds; `seen` are the pairs of both so far.

    Beyond MAX_GUARDED of them guards are no longer narrowed, which is sound: parts that occur in many places meet
    ever fewer guards then.
    """
    if guard is None or not predicate.tables or (predicate, guard) in seen:
        return
    seen.add((predicate, guard))
    if isinstance(predicate, Atom):
        for read in predicate.expr.atoms(Read):
            _check_read(read, guard, limits)
    elif isinstance(predicate, Connective):
        siblings = [arg for arg in predicate.args if isinstance(arg, Atom) and _can_guard(arg, limits)]
        for arg in predicate.args:
            inner: Clause | None = guard
            for sibling in siblings if len(seen) <= MAX_GUARDED else ():
                if sibling is not arg:
                    inner = inner and _guarded(inner, sibling if isinstance(predicate, And) else sibling.negated())
            _check_reads(arg, inner, limits, seen)


def _can_guard(atom: Atom, limits: Limits) -> bool:
    """Return whether no look-up of a comparison needs a guard itself, since two of them might guard each other."""
    box = exact_box(limits)
    for read in atom.expr.atoms(Read):
        for index, size in zip(read.indices, read.shape, strict=True):
            low, high = bounds(index, box)
            if low[0] < 0 or high[0] >= size:
                return False
    return True


def _guarded(guard: Clause, sibling: Predicate) -> Clause | None:
    """Return the guard with a sibling comparison added, or None if both can't hold."""
    assert isinstance(sibling, Atom)
    spans = spans_of(sibling)
    if len(spans) != 1:
        return None
    return guard.meet(Clause({spans[0].form: spans[0]}))


def _check_read(read: Read | Lookup, guard: Clause, limits: Limits) -> None:
    narrowed = {symbol: _narrowed(symbol, limits, guard) for symbol in limits}
    if any(low > high for low, high in narrowed.values()):
        return
    box = exact_box(narrowed)
    owner, sizes = _described(read)
    for axis, (index, size) in enumerate(zip(read.indices, sizes, strict=True)):
        low, high = _index_bounds(index, box, guard)
        if low <= high and (low < 0 or high >= size):
            enlarge, count = (
                f"Pass one with {high + 1} entries",
                "Count from 0, since only constants count from the end",
            )
            raise TableError(
                f"{owner} {size} entries along axis {axis}, "
                f"but its index {expression(index)} runs from {low} to {high}.",
                rule="Every look-up lies inside the table, for all positions that the rest of the predicate admits.",
                fix=f"{enlarge if high >= size else count}, or guard the look-up, "
                "as in (0 <= i - j) & (i - j < 64) & (t[i - j] != 0).",
            )


def _described(read: Read | Lookup) -> tuple[str, tuple[int, ...]]:
    if isinstance(read, Read):
        return title(read, read.table), read.shape
    return f"Weights {read.weights.label!r} have", read.weights.shape


def title(read: Read, table: TableData) -> str:
    """Return the beginning of a message on a table, or on lists, that a look-up reads."""
    return f"Lists {table.name!r} have" if isinstance(read, IsMember) else f"Table {table.name!r} has"


def _narrowed(symbol: sympy.Symbol, limits: Limits, guard: Clause) -> tuple[int, int]:
    """Bound a symbol by the guards on it, alone or beside what has bounds itself, as in j < length[b]."""
    low, high = limits[symbol]
    box = exact_box(limits)
    for span in guard.spans.values():
        for form, first, last in _either_way(span):
            rest = form - symbol
            if symbol in span.form.free_symbols and symbol not in rest.free_symbols:
                least, most = (int(x[0]) for x in bounds(rest, box))
                low = low if first is None else max(low, first - most)
                high = high if last is None else min(high, last - least)
    return low, high


def _index_bounds(index: sympy.Expr, box: Mapping[sympy.Symbol, Range], guard: Clause) -> tuple[int, int]:
    """Bound an index over the box, and by the guards: on a part of it, as in |i - j|, or on a form near it or its
    negation, as 4 (i // 4) - j is near i - j."""
    low, high = (int(x[0]) for x in bounds(index, box))
    for span in guard.spans.values():
        within = index.xreplace({span.form: _BOUNDED})
        if within != index:
            least, most = (int(x[0]) for x in bounds(span.form, box))
            least, most = (least if span.low is None else span.low), (most if span.high is None else span.high)
            inner = bounds(within, {**box, _BOUNDED: (exactly(least), exactly(most))})
            low, high = max(low, int(inner[0][0])), min(high, int(inner[1][0]))
        for form, first, last in _either_way(span):
            difference = whole_floors(index - form)
            if all(map(_is_near, sympy.Add.make_args(difference))):
                least, most = (int(x[0]) for x in bounds(difference, box))
                low = low if first is None else max(low, first + least)
                high = high if last is None else min(high, last + most)
    return low, high


def _either_way(span: Span) -> tuple[tuple[sympy.Expr, int | None, int | None], ...]:
    """Return the form of a span with its ends, and the negated form with those; None where it is open."""
    low, high = span.low, span.high
    return (span.form, low, high), (-span.form, None if high is None else -high, None if low is None else -low)


def _is_near(term: sympy.Expr) -> bool:
    """Return whether a term is a number, since lengths are, or a remainder: bounds of others add nothing to the box."""
    return bool(term.free_symbols <= {NQ, NK} or term.has(sympy.Mod))
