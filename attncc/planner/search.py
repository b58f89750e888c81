"""The planner: specialise the predicate, enumerate ways to run it, and rank them by predicted cost."""

from __future__ import annotations

import copyreg
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import sympy

from attncc._util import caching
from attncc.errors import ConfigError
from attncc.frontend.accepted import AnyPattern, accepted_pattern
from attncc.frontend.pages import Pages
from attncc.frontend.patterns import Pattern
from attncc.frontend.templates import Tables, bound_clause, filled
from attncc.ir.interval import NEVER, verdict
from attncc.ir.normal import Clause, TooManyClausesError
from attncc.ir.predicate import TRUE, Predicate, conjunction, disjunction
from attncc.ir.tables import Read
from attncc.planner import cost
from attncc.planner.axis import Axis
from attncc.planner.blocked import blocked
from attncc.planner.bound_checks import check_bound
from attncc.planner.bound_groups import bound_groups
from attncc.planner.checks import limits_of
from attncc.planner.clauses import disjoint_clauses
from attncc.planner.key_ranges import hull
from attncc.planner.layout import Layout, by_start, dense_layout, lay_out
from attncc.planner.listing import listed
from attncc.planner.passes import Alternative, Group, Pass
from attncc.planner.plan import Plan
from attncc.planner.relation import relate
from attncc.planner.shape import Shape
from attncc.targets import Target
from attncc.targets import target as find_target

Tile = tuple[int, int]
#: Query and key positions of a tile, unless a backend asks for others.
TILE: Tile = (128, 128)
#: Queries of a tile of the dense way: a library's op is fastest on many at a time.
DENSE_ROWS = 512
#: Pairs up to which tiles are looked at, to compare them with the dense way.
MOST_COMPARED = 1 << 28
#: What plans are priced for, unless another target is named.
TARGET = "cpu"


def plan(
    pattern: AnyPattern,
    q_len: int,
    kv_len: int | None = None,
    *,
    q_offset: int = 0,
    heads: int = 1,
    batch: int = 1,
    tile: Tile = TILE,
    target: str = TARGET,
) -> Plan:
    """Return the plan for a pattern at these lengths.

    The last plans are kept: asking again for an equal pattern and shape plans nothing.

    Args:
        pattern: The pattern, or a declared pattern that needs no parameters.
        q_len: Number of queries.
        kv_len: Number of keys, by default q_offset + q_len.
        q_offset: Position of the first query.
        heads: Number of query heads; it matters to patterns that depend on h.
        batch: Number of batch entries; it matters to patterns that depend on b.
        tile: (block_m, block_n), query and key positions of a tile, powers of two.
        target: Name of the target whose costs decide.

    Raises:
        ShapeError: For lengths that can't be planned.
        PatternError: For a predicate that can't be evaluated at these lengths.
        TableError: For a table that is too short.
        ConfigError: For a tile or target that there isn't.
    """
    _check_tile(tile)
    find_target(target)  # before the plan is looked for by what was given
    return plan_for(accepted_pattern(pattern), Shape.of(q_len, kv_len, q_offset, heads, batch), tile, target)


def _by_handle(pattern: Pattern, *rest: object) -> tuple[object, ...]:
    return pattern.handle if pattern.tables else pattern.key, *rest


@caching.by_size(lambda plan: plan.size, _by_handle)
def plan_for(pattern: Pattern, shape: Shape, tile: Tile, target: str) -> Plan:
    """Return the plan for a shape, as `plan` does; the last ones are kept."""
    if (of_one := plan_of_one(pattern, shape, tile, target)) is not None:
        return of_one
    if pattern.batch_entries:
        return _entry_by_entry(pattern, shape, tile, target)
    check_bound(pattern, shape)
    groups = _groups(pattern, shape, tile, find_target(target))
    if (pages := Pages.of(pattern)) is not None:
        members = ((group, range(shape.batch) if group.batches is None else group.batches) for group in groups)
        groups = tuple(group.in_pages(pages, entry) for group, entries in members for entry in entries)
    return Plan(pattern, shape, *tile, target, groups)


def plan_of_one(pattern: Pattern, shape: Shape, tile: Tile, target: str) -> Plan | None:
    """Return the plan for a single query, whose keys are listed; None for more, or where the keys are too many.

    It isn't kept: a step of decoding makes it in less time than others take to be kept.
    """
    if shape.q_len != 1 or not shape.kv_len or pattern.batch_entries:
        return None
    check_bound(pattern, shape)
    keys = listed(pattern, shape)
    return None if keys is None else Plan(pattern, shape, *tile, target, listed=keys)


def _entry_by_entry(pattern: Pattern, shape: Shape, tile: Tile, target: str) -> Plan:
    """Return the plan of a batch whose entries have the groups, and the number of keys, that they have alone."""
    groups = tuple(
        replace(group, batches=(entry,))
        for entry, (own, kv_len) in enumerate(pattern.batch_entries)
        for group in plan_for(own, replace(shape, kv_len=kv_len, batch=1), tile, target).groups
    )
    return Plan(pattern, shape, *tile, target, groups)


def _groups(pattern: Pattern, shape: Shape, tile: Tile, target: Target) -> tuple[Group, ...]:
    """Return the groups of heads that share a predicate, with the ways to run it."""
    return tuple(
        Group(*members, _alternatives(seen.predicate, seen.tables, shape, tile, target))
        for members, seen in bound_groups(pattern, shape)
    )


def _reduced(plan: Plan) -> tuple[object, ...]:
    """A copy of a plan, in this process or another one, is planned anew, since key ranges hold functions."""
    ways = tuple(group.alternatives[0].name for group in plan.groups)
    return planned_again, (plan.pattern, plan.shape, plan.tile, plan.target, ways)


def planned_again(pattern: Pattern, shape: Shape, tile: Tile, target: str, ways: tuple[str, ...]) -> Plan:
    """Return the plan that runs, of each group, the alternative named in `ways`: what a copy of a plan is made by."""
    fresh = plan_for(pattern, shape, tile, target)
    if fresh.listed is not None:
        return fresh
    groups = zip(fresh.laid_out, ways, strict=True)
    return replace(fresh, laid_out=tuple(group.preferring(way) for group, way in groups))


copyreg.pickle(Plan, _reduced)  # type: ignore[arg-type]


def _check_tile(tile: Tile) -> None:
    sizes = tile if isinstance(tile, tuple) and len(tile) == 2 else (0,)
    if not all(isinstance(size, int) and size >= 1 and not size & (size - 1) for size in sizes):
        raise ConfigError(
            f"tile={tile!r}.",
            rule="A tile is a pair of query and key positions, powers of two.",
            fix="Use for example (128, 128).",
        )


def _alternatives(
    template: Predicate, tables: Tables, shape: Shape, tile: Tile, target: Target
) -> tuple[Alternative, ...]:
    """Return the ways to run a predicate, cheapest first; there is always at least one."""
    if not shape.q_len or not shape.kv_len:
        return (Alternative("empty", (), 0.0),)
    predicate = filled(template, tables)
    try:
        pieces = possible_clauses(template, shape, tables)
    except TooManyClausesError as error:
        note = f"{error} It is kept whole: one pass evaluates it for each pair."
        ways = [("fused", [_fused(predicate, [Clause({})], shape, tile)])]
        return tuple(replace(way, note=note) for way in _ranked(ways, predicate, shape, tile, target))
    own = [(piece, _cheapest_layout(piece, shape, tile, target)) for piece in pieces]
    own = [(piece, work) for piece, work in own if _reaches(work)]
    ways = [("split", [work for _, work in own]), *_mixtures(own, predicate, shape, tile)]
    ways += _boxes(own, shape, tile, target)
    return tuple(_ranked(ways, predicate, shape, tile, target) if own else [_priced(*way, target) for way in ways])


def _ranked(
    ways: list[tuple[str, list[Pass]]], predicate: Predicate, shape: Shape, tile: Tile, target: Target
) -> list[Alternative]:
    """Return the ways, and the dense one where that differs, cheapest first.

    What the others visit is bounded, and may seem to be more than all pairs: before the dense one wins, it is compared
    with what the best of them does visit. It comes last where there are too many tiles to look at. What an enumerated
    pass visits is known, so that the others' bounds are closer beside one.
    """
    compared = shape.q_len * shape.kv_len <= MOST_COMPARED
    enumerated = any(work.is_enumerated for _, passes in ways for work in passes)
    price = cost.bounded_seconds if enumerated and compared else cost.seconds
    best, *others = sorted((_priced(*way, target, price) for way in ways), key=lambda way: way.seconds)
    if predicate == TRUE:
        return [best, *others]
    dense = _exactly("dense", [_dense(predicate, shape, tile)], target)
    if dense.seconds < best.seconds:
        if not compared:
            return [best, *others, dense]
        best = _exactly(best.name, best.passes, target)
    return sorted([best, *others, dense], key=lambda way: way.seconds)


def _mixtures(
    own: list[tuple[Clause, Pass]], predicate: Predicate, shape: Shape, tile: Tile
) -> Iterator[tuple[str, list[Pass]]]:
    """Fuse all clauses, or those in natural order, into one pass that evaluates the predicate."""
    if len(own) < 2:
        return
    yield "fused", [_fused(predicate, [piece for piece, _ in own], shape, tile)]
    natural = [piece for piece, work in own if work.layout.kind == "identity"]
    if 2 <= len(natural) < len(own):
        union = disjunction(piece.predicate() for piece in natural)
        moved = [work for _, work in own if work.layout.kind != "identity"]
        yield "mixed", [_fused(union, natural, shape, tile), *moved]


def _boxes(
    own: list[tuple[Clause, Pass]], shape: Shape, tile: Tile, target: Target
) -> Iterator[tuple[str, list[Pass]]]:
    """Lay the clauses of grids out box by box, and first, since stores of gathered rows take less time than merges."""
    passes = []
    for piece, work in own:
        layout = blocked(piece, relate(piece, shape.kv_len), shape)
        if layout is not None:
            work = cost.fitted(Pass(piece.predicate(), layout, shape.q_offset, *tile), target)
        passes.append(work)
    if any(work.layout.sides for work in passes):
        yield "blocked", sorted(passes, key=lambda work: work.layout.sides is None)


def possible_clauses(predicate: Predicate, shape: Shape, tables: Tables | None = None) -> list[Clause]:
    """Return disjoint clauses that cover a predicate, without those that no pair of the shape can satisfy.

    Clauses are made of the predicate with its placeholders, which tables then replace. Raises TooManyClausesError if
    the expansion is too long to be useful.
    """
    possible = (piece for piece in disjoint_clauses(predicate) if _possible(piece, shape))
    bound = (bound_clause(piece, tables or {}) for piece in possible)
    return [piece for piece in bound if piece is not None]


def layouts(piece: Clause, shape: Shape) -> Iterator[Layout]:
    """Yield the layouts of a clause: filtered and sorted by its joins, and the natural order if that differs.

    Where limits from tables neither rise nor are ranges of rows, queries may be sorted by them, too.
    """
    relation = relate(piece, shape.kv_len)
    own = lay_out(relation, shape)
    yield own
    if (by_limits := by_start(own)) is not None:
        yield by_limits
    if own.kind != "identity":
        yield lay_out(relation.in_natural_order(piece), shape)


def fused_layout(predicate: Predicate, pieces: list[Clause], shape: Shape) -> Layout:
    """Return the natural order with the whole predicate as residual, under the hull of its clauses' bands."""
    relations = [relate(piece, shape.kv_len).in_natural_order(piece) for piece in pieces]
    alike = {relation.bands: relation for relation in relations}  # the rest is residual, and covered by the predicate
    stairs = [lay_out(relation, shape).key_ranges for relation in alike.values()]
    return Layout(Axis(shape.q_len), Axis(shape.kv_len), hull(stairs), None if predicate == TRUE else predicate)


def _possible(piece: Clause, shape: Shape) -> bool:
    """Return False if interval evaluation over the whole rectangle proves the clause empty, whatever tables hold."""
    box = {symbol: (np.array([low]), np.array([high])) for symbol, (low, high) in limits_of(shape).items()}
    return bool(verdict(_known(piece), box)[0] != NEVER)


@caching.algebra(1024)
def _known(piece: Clause) -> Predicate:
    """Return what a clause says without placeholders."""
    if not any(map(_has_placeholder, piece.spans)):
        return piece.predicate()
    return conjunction(span.predicate() for span in piece.spans.values() if not _has_placeholder(span.form))


def _has_placeholder(form: sympy.Expr) -> bool:
    return any(read.table.is_placeholder for read in form.atoms(Read))


def _reaches(work: Pass) -> bool:
    """Return False if no query has a key within the key ranges."""
    return work.hull.num_full + work.hull.num_partial > 0


def _cheapest_layout(piece: Clause, shape: Shape, tile: Tile, target: Target) -> Pass:
    """Lay a clause out sorted and compacted, or in natural order with the joins evaluated: whichever is cheaper.

    Natural order without PARTIAL tiles is tried first: it computes connected pairs alone and gathers nothing.
    """
    passes = [Pass(piece.predicate(), layout, shape.q_offset, *tile) for layout in layouts(piece, shape)]
    fits: list[Pass] = []
    for work in (cost.fitted(work, target) for work in reversed(passes)):
        if work.layout.kind == "identity" and work.has_known_tiles and not work.hull.num_partial:
            return work
        fits.insert(0, work)
    return min(fits, key=lambda work: cost.seconds(work, target, merges=True))


def _fused(predicate: Predicate, pieces: list[Clause], shape: Shape, tile: Tile) -> Pass:
    """One pass in natural order that evaluates the whole predicate under the hull of its clauses' bands."""
    layout = fused_layout(predicate, pieces, shape)
    return Pass(predicate, layout, shape.q_offset, *tile)


def _dense(predicate: Predicate, shape: Shape, tile: Tile) -> Pass:
    """One pass over all pairs, with the predicate as a mask and nothing left out, in tiles as tall as pays."""
    rows = max(tile[0], min(DENSE_ROWS, 1 << (shape.q_len - 1).bit_length()))
    return Pass(predicate, dense_layout(predicate, shape), shape.q_offset, rows, tile[1], skips=False)


def _exactly(name: str, passes: Sequence[Pass], target: Target) -> Alternative:
    """Return the way with the price of the tiles that it visits."""
    total = sum(cost.exact_seconds(work, target, merges=number > 0) for number, work in enumerate(passes))
    return Alternative(name, tuple(passes), total)


def _priced(name: str, passes: list[Pass], target: Target, price: Callable[..., float] = cost.seconds) -> Alternative:
    total = sum(price(work, target, merges=number > 0) for number, work in enumerate(passes))
    return Alternative(name, tuple(passes), total)
