"""Exact counts of what key ranges alone don't decide: by diagonals and by residues, clause by clause if need be."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from attncc.ir.normal import Clause, TooManyClausesError, comparison, spans_of
from attncc.ir.predicate import TRUE, And, Atom, Predicate, conjunction
from attncc.ir.unfold import by_cases
from attncc.planner import diagonals, residues
from attncc.planner.clauses import disjoint_clauses
from attncc.planner.layout import Layout, lay_out
from attncc.planner.relation import Relation, relate
from attncc.planner.shape import Shape


@dataclass(frozen=True)
class CountMethod:
    """A way to count: the pairs that it evaluates, and what counts."""

    cells: int
    count: Callable[[], int]


def count(predicate: Predicate, shape: Shape, most: int) -> int | None:
    """Return the exact number of pairs of a predicate in i and j, None if that takes evaluating it `most` times."""
    found = _fewest(_ways(predicate, shape))
    return found.count() if found.cells < most else None


def _fewest(ways: Iterable[CountMethod]) -> CountMethod:
    return min(ways, key=lambda way: way.cells)


def _ways(predicate: Predicate, shape: Shape) -> Iterator[CountMethod]:
    """Yield ways to count a predicate: as it is, and the sum over disjoint clauses where it is worth finding them."""
    whole = _of_conjunction(predicate, shape)
    yield whole
    if whole.cells <= residues.CELLS:
        return
    try:
        pieces = disjoint_clauses(by_cases(predicate))
    except TooManyClausesError:
        return
    parts = [_of_conjunction(piece.predicate(), shape) for piece in pieces]
    yield CountMethod(sum(part.cells for part in parts), lambda: sum(part.count() for part in parts))


def _of_conjunction(predicate: Predicate, shape: Shape) -> CountMethod:
    """Return the way to count a conjunction that evaluates the fewest pairs."""
    lengths = shape.q_len, shape.kv_len, shape.q_offset
    if diagonals.applies(predicate):
        return CountMethod(0, lambda: diagonals.count(predicate, *lengths) or 0)
    relation = _related(predicate, shape)
    if relation is None:
        return CountMethod(0, lambda: 0)
    found = [residues.Residues.of(layout, shape.q_offset) for layout in _layouts(relation, shape)]
    return _fewest(CountMethod(each.cells, each.count) for each in found)


def _related(predicate: Predicate, shape: Shape) -> Relation | None:
    """Return a conjunction's comparisons in relational form, with its other parts as residual; None if it is empty."""
    clause = Clause({})
    others: list[Predicate] = []
    for part in predicate.args if isinstance(predicate, And) else (predicate,):
        if not isinstance(part, Atom):
            others.append(part)
            continue
        spans = spans_of(part)
        met = clause.meet(Clause({spans[0].form: spans[0]})) if spans else None
        if met is None:
            return None
        clause = met
    relation = relate(clause, shape.kv_len)
    return replace(relation, residual=conjunction([relation.residual, *others]))


def _layouts(relation: Relation, shape: Shape) -> Iterator[Layout]:
    """Yield the layout with the keys in natural order, and that of all its parts if it differs."""
    joins = [comparison("eq", join.query - join.key) for join in relation.joins]
    ordering = TRUE if relation.ordering is None else relation.ordering.predicate()
    residual = conjunction([relation.key_filter, *joins, ordering, relation.residual])
    yield lay_out(replace(relation, key_filter=TRUE, joins=(), residual=residual, ordering=None), shape)
    if joins or relation.ordering is not None or relation.key_filter != TRUE:
        yield lay_out(relation, shape)
