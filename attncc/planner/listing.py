"""Listing: the keys of a single query, as a decoding step has it, found without layouts.

With one query every comparison is a filter on keys, whatever it is in a clause. A template is prepared once: each
clause becomes a range of keys, start to stop in steps, whose ends are integer functions of the query and its tables.
So a step costs a few operations on integers where comparisons leave ranges (windows, strides, blocks, lengths). Where
they don't (documents, lists), the predicate is evaluated once for the keys within the ranges, for all batch entries
and heads at once. Groups and passes are made of the keys only where something asks for them.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import sympy

from attncc._util import caching
from attncc.frontend.pages import Pages
from attncc.frontend.patterns import Pattern
from attncc.frontend.templates import Tables, put
from attncc.ir.arithmetic import split_sum
from attncc.ir.evaluate import Consecutive, Environment, Evaluator, evaluator, predicate_evaluator
from attncc.ir.normal import Clause, TooManyClausesError
from attncc.ir.predicate import Predicate, conjunction
from attncc.ir.span import Span
from attncc.ir.symbols import NK, NQ, B, H, I, J
from attncc.ir.tables import Array
from attncc.planner import cost
from attncc.planner.axis import Axis
from attncc.planner.bands import inverse
from attncc.planner.clauses import disjoint_clauses
from attncc.planner.key_ranges import constant
from attncc.planner.layout import Layout
from attncc.planner.members import grouped
from attncc.planner.passes import Alternative, Group, Pass
from attncc.planner.shape import Shape
from attncc.planner.specialise import specialise
from attncc.targets import Target

#: Keys, times batch entries and heads, that are listed one by one; beyond, closed forms of layouts are faster.
MOST_LISTED = 1 << 18

#: Narrows the range (start, stop) of keys by the value of an expression.
Narrowing = Callable[[int, int, int], tuple[int, int]]
#: The keys of a query: disjoint ranges by their first keys, none of them empty, or all of the keys, ascending.
Keys = tuple[range, ...] | Array


@dataclass(frozen=True, eq=False, slots=True)
class ClauseKeys:
    """The range of keys that a clause leaves to a query.

    Attributes:
        values: Expressions without j, one for each comparison, as functions of an environment.
        narrowings: What the value of each expression leaves of the range.
        step: The distance of its keys.
        rest: What is left to evaluate for each key of the range; None where the clause holds for all of them.
    """

    values: tuple[Evaluator, ...]
    narrowings: tuple[Narrowing, ...]
    step: int = 1
    rest: Evaluator | None = None

    @classmethod
    def of(cls, clause: Clause) -> ClauseKeys:
        """Return the range of a clause; of several congruences it takes the first."""
        found: list[tuple[sympy.Expr, Narrowing]] = []
        congruence: tuple[sympy.Expr, Narrowing, int] | None = None
        rest: list[Span] = []
        for span in clause.spans.values():
            if narrowing := _filter(span) or _band(span):
                found.append(narrowing)
            elif congruence is None and (congruence := _congruence(span)) is not None:
                continue
            else:
                rest.append(span)
        last = [] if congruence is None else [congruence[:2]]  # it moves the start that the others leave
        values, narrowings = zip(*found, *last, strict=True) if found or last else ((), ())
        step = 1 if congruence is None else congruence[2]
        left = predicate_evaluator(conjunction(span.predicate() for span in rest)) if rest else None
        return cls(tuple(map(evaluator, values)), narrowings, step, left)

    def range_of(self, values: Iterable[int], kv_len: int) -> range:
        """Return the keys below `kv_len` for these values."""
        start, stop = 0, kv_len
        for narrow, value in zip(self.narrowings, values, strict=True):
            start, stop = narrow(value, start, stop)
        return range(start, stop, self.step)


def _filter(span: Span) -> tuple[sympy.Expr, Narrowing] | None:
    """A comparison without j: all keys or none."""
    if J in span.form.free_symbols:
        return None

    def narrow(value: int, start: int, stop: int) -> tuple[int, int]:
        return (0, 0) if span.leaves_out(value) else (start, stop)

    return span.form, narrow


def _band(span: Span) -> tuple[sympy.Expr, Narrowing] | None:
    """A comparison of f + g, with g in j alone and rising or falling: the keys between two limits."""
    parts = split_sum(span.form, I, J)
    if parts is None or span.holes:
        return None
    rising, falling = inverse(parts[1]), inverse(-parts[1])
    first = rising or falling
    if first is None:
        return None
    sign, least, most = (1, span.low, span.high) if rising else (-1, span.high, span.low)

    def narrow(value: int, start: int, stop: int) -> tuple[int, int]:
        if least is not None and (limit := first(sign * (least - value))) > start:
            start = limit
        if most is not None and (limit := first(sign * (most - value) + 1)) < stop:
            stop = limit
        return start, stop

    return parts[0], narrow


def _congruence(span: Span) -> tuple[sympy.Expr, Narrowing, int] | None:
    """A remainder of j and what is free of it: every so many keys."""
    if span.value is None or not isinstance(span.form, sympy.Mod) or not span.form.args[1].is_Integer:
        return None
    dividend, modulus, value = span.form.args[0], int(span.form.args[1]), span.value
    parts = split_sum(dividend, I, J)
    if parts is None or parts[1] not in (J, -J):
        return None
    sign = 1 if parts[1] == J else -1

    def narrow(rest: int, start: int, stop: int) -> tuple[int, int]:
        return start + (sign * (value - rest) - start) % modulus, stop

    return parts[0], narrow, modulus


class PreparedKeys(NamedTuple):
    """How the keys of one query are found under a template.

    Attributes:
        clauses: The keys of its disjoint clauses.
        exact: Whether these are all: nothing is left to evaluate.
        holds: Where the template holds.
    """

    clauses: tuple[ClauseKeys, ...]
    exact: bool
    holds: Evaluator


class KeyList(NamedTuple):
    """The keys of the only query, for the batch entries and heads that share them (None: all of them)."""

    batches: tuple[int, ...] | None
    heads: tuple[int, ...] | None
    keys: Keys


@caching.algebra(1024)
def prepared(template: Predicate) -> PreparedKeys:
    """Return how keys are found under a template; where it isn't taken apart, all of it is left to evaluate."""
    try:
        clauses = tuple(map(ClauseKeys.of, disjoint_clauses(template)))
    except TooManyClausesError:
        clauses = (ClauseKeys((), (), rest=predicate_evaluator(template)),)
    return PreparedKeys(clauses, all(clause.rest is None for clause in clauses), predicate_evaluator(template))


@dataclass(eq=False)  # not frozen, since one is made for each step of decoding
class ListedKeys:
    """The keys of a pattern's only query.

    Attributes:
        of_members: The keys of each head of each batch entry, in order.
        entries: The number of batch entries; None where all of them have the same keys.
        heads: The number of heads; None where all of them have the same keys.
        paged_entries: The number of batch entries where each has pages of its own; else 0.
    """

    of_members: list[Keys]
    entries: int | None
    heads: int | None
    paged_entries: int

    @cached_property
    def lists(self) -> tuple[KeyList, ...]:
        """The keys, in one list for all batch entries and heads whose keys are equal, but for pages of their own."""
        by_entry, by_head, heads = self.entries is not None, self.heads is not None, self.heads or 1
        shared = grouped(
            self.entries or 1, heads, by_entry, by_head, lambda b, h: _known(self.of_members[b * heads + h])
        )
        found = [KeyList(*members, keys) for members, keys in shared]
        if self.paged_entries:
            every = range(self.paged_entries)
            found = [KeyList((entry,), *own[1:]) for own in found for entry in own.batches or every]
        return tuple(found)


def listed(pattern: Pattern, shape: Shape) -> ListedKeys | None:
    """Return the keys of a pattern's only query at a shape with keys; None where too many would be listed singly."""
    template = pattern.template
    free = template.predicate.free
    entries, heads = shape.batch if B in free else None, shape.heads if H in free else None
    found = _keys(template.predicate, pattern.bound, shape, (entries or 1, heads or 1))
    return None if found is None else ListedKeys(found, entries, heads, shape.batch if template.page_size else 0)


def _known(keys: Keys) -> tuple[Hashable, Keys]:
    """Return keys after what they are known by."""
    return keys if isinstance(keys, tuple) else keys.tobytes(), keys


def _keys(template: Predicate, tables: Tables, shape: Shape, sizes: tuple[int, int]) -> list[Keys] | None:
    """Return the keys of each head of each batch entry; None where too many would be listed one by one."""
    members = sizes[0] * sizes[1]
    env: dict[sympy.Basic, object] = {I: shape.q_offset, NQ: shape.q_len, NK: shape.kv_len, B: 0, H: 0, **tables}
    if sizes[0] > 1:
        env[B] = np.arange(sizes[0])[:, None]
    if sizes[1] > 1:
        env[H] = np.arange(sizes[1])
    clauses, exact, holds = prepared(template)
    if exact and len(clauses) == 1 and clauses[0].step == 1:
        return [(part,) if part else () for part in _ranges(clauses[0], env, sizes, shape.kv_len)]
    ranges = [_ranges(clause, env, sizes, shape.kv_len) for clause in clauses] or [[range(0)] * members]
    if exact:
        found = [_ascending(own) for own in zip(*ranges, strict=True)]
        return None if sum(map(_number_listed, found)) > MOST_LISTED else list(found)
    parts = [part for own in ranges for part in own if part]
    first, last = min(map(_start, parts), default=0), max((part[-1] + 1 for part in parts), default=0)
    if (last - first) * members > MOST_LISTED:
        return None
    if members == 1:
        if len(clauses) == len(parts) == 1:
            return [_passing(parts[0], clauses[0].rest or holds, env)]
        return [_passing(range(first, last), holds, env)]
    env |= {B: np.arange(sizes[0])[:, None, None], H: np.arange(sizes[1])[:, None]}
    rows = np.broadcast_to(holds(Consecutive(env, J, first, last)), (*sizes, last - first)).reshape(members, -1)
    return [_in_ranges(row.nonzero()[0] + first) for row in rows]


def _ranges(clause: ClauseKeys, env: Environment, sizes: tuple[int, int], kv_len: int) -> list[range]:
    """Return the range of a clause for each head of each batch entry."""
    if sizes == (1, 1):
        return [clause.range_of([value(env) for value in clause.values], kv_len)]
    if len(clause.values) == 1:
        [value], [narrow], step = clause.values, clause.narrowings, clause.step
        return [range(*narrow(each, 0, kv_len), step) for each in _of_each(value(env), sizes)]
    columns = [_of_each(value(env), sizes) for value in clause.values]
    rows = zip(*columns, strict=True) if columns else [()] * (sizes[0] * sizes[1])
    return [clause.range_of(row, kv_len) for row in rows]


def _of_each(value: Any, sizes: tuple[int, int]) -> list[int]:
    """Return a value, an integer or an array, for each head of each batch entry."""
    if isinstance(value, int):
        return [value] * (sizes[0] * sizes[1])
    whole = value if value.size == sizes[0] * sizes[1] else np.broadcast_to(value, sizes)
    return whole.ravel().tolist()


def _ascending(ranges: Iterable[range]) -> tuple[range, ...]:
    """Return those that hold keys, by their first ones; consecutive ones are one."""
    some = [part for part in ranges if part]
    if len(some) < 2:
        return tuple(some)
    some.sort(key=_start)
    found = some[:1]
    for part in some[1:]:
        before = found[-1]
        if before.stop == part.start and before.step == part.step == 1:
            found[-1] = range(before.start, part.stop)
        else:
            found.append(part)
    return tuple(found)


def _number_listed(ranges: tuple[range, ...]) -> int:
    """Return how many keys are listed one by one: those of all ranges, unless it is a single one without gaps."""
    return 0 if not ranges or (len(ranges) == 1 and ranges[0].step == 1) else sum(map(len, ranges))


def _passing(keys: range, holds: Evaluator, env: Environment) -> Keys:
    """Return the keys of a range for which a condition holds."""
    consecutive = keys.step == 1
    found = holds(Consecutive(env, J, keys.start, keys.stop) if consecutive else {**env, J: np.array(keys)})
    places = (found if np.shape(found) == (len(keys),) else np.broadcast_to(found, len(keys))).nonzero()[0]
    return _in_ranges(places + keys.start if consecutive else keys.start + keys.step * places)


def _in_ranges(keys: Array) -> Keys:
    """Return ascending keys as a range, where they are consecutive."""
    if not len(keys):
        return ()
    first, last = int(keys[0]), int(keys[-1]) + 1
    return (range(first, last),) if last - first == len(keys) else keys


def _start(keys: range) -> int:
    return keys.start


def positions(keys: Keys) -> Array:
    """Return all keys, ascending, int64."""
    if not isinstance(keys, tuple):
        return keys
    found = np.concatenate([np.arange(part.start, part.stop, part.step) for part in keys or (range(0),)])
    if any(after.start <= before[-1] for before, after in pairwise(keys)):
        found.sort()
    return found


def groups(
    lists: Iterable[KeyList], pattern: Pattern, shape: Shape, tile: tuple[int, int], target: Target
) -> tuple[Group, ...]:
    """Return the groups of a plan whose only query has these keys, with one way to run each.

    Args:
        lists: The keys, as `listed` gives them.
        pattern: The pattern.
        shape: The shape.
        tile: (block_m, block_n) of the passes.
        target: What they are priced for.
    """
    pages = Pages.of(pattern)
    found = []
    for batches, heads, keys in lists:
        stated = partial(_stated, pattern, shape, (batches or (0,))[0], (heads or (0,))[0])
        group = Group(batches, heads, (_way(keys, stated, shape, tile, target),))
        found.append(group if pages is None or batches is None else group.in_pages(pages, batches[0]))
    return tuple(found)


def _stated(pattern: Pattern, shape: Shape, entry: int, head: int) -> Predicate:
    return specialise(put(pattern.template.predicate, pattern.bound), shape, entry, head)


def _way(
    keys: Keys, stated: Callable[[], Predicate], shape: Shape, tile: tuple[int, int], target: Target
) -> Alternative:
    if not len(keys):
        return Alternative("empty", (), 0.0)
    layout, count = _laid_out(keys, shape.kv_len)
    work = Pass(stated, layout, shape.q_offset, *tile)
    return Alternative("listed", (work,), cost.listed(count, target))


def _laid_out(keys: Keys, kv_len: int) -> tuple[Layout, int]:
    """Return the layout of the keys, natural where they are consecutive, and their number."""
    if isinstance(keys, tuple) and len(keys) == 1 and keys[0].step == 1:
        first, last = keys[0].start, keys[0].stop
        return Layout(Axis(1), Axis(kv_len), constant(1, kv_len, first, last), None), last - first
    each = positions(keys)
    return Layout(Axis(1), Axis(kv_len, each), constant(1, len(each), 0, len(each)), None), len(each)
