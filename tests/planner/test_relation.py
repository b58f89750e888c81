"""Relations: the parts of a clause, which together equal it."""

from __future__ import annotations

import numpy as np
import pytest
import sympy

import attncc
from attncc.ir.evaluate import evaluate, evaluate_predicate
from attncc.ir.normal import clauses
from attncc.ir.predicate import TRUE
from attncc.ir.symbols import I, J
from attncc.planner.clauses import disjoint_clauses
from attncc.planner.relation import Relation, relate

N = 60
GRID = {I: np.arange(N)[:, None], J: np.arange(N)[None, :]}


@attncc.pattern
def grouped(i, j, *, ids: attncc.Table):
    return (ids[i] == ids[j]) & (j <= i)


@attncc.pattern
def rising(i, j, *, marks: attncc.Table):
    return marks[j] <= i


@attncc.pattern
def in_either(i, j, *, ids: attncc.Table, others: attncc.Table):
    return (ids[i] == ids[j]) | (others[i] == ids[j])


@attncc.pattern
def own_or_next(i, j, *, ids: attncc.Table):
    return (ids[i] == ids[j]) | (ids[i] == (ids[j] + 1) % 7)


@attncc.pattern
def looked_up_by_class(i, j, *, ids: attncc.Table, colours: attncc.Table):
    return (ids[i] == ids[j]) & (colours[ids[i] + ids[j]] > 0)


@attncc.pattern
def scattered(i, j):
    return (i * j) % 7 == 3


TABLE = np.arange(N) // 9
PATTERNS = {
    "causal": attncc.load("causal"),
    "strided": attncc.load("strided", l=8),
    "fixed": attncc.load("fixed", l=16, c=3),
    "dilated": attncc.load("dilated_window", window=5, dilation=3),
    "prefix": attncc.load("prefix", length=20),
    "joined by a table": grouped(ids=TABLE % 4),
    "bounded by a table": rising(marks=TABLE),
    "a residual": scattered(),
    "joined by either of two tables": in_either(ids=TABLE % 4, others=(TABLE + np.arange(N)) % 5 - 1),
    "joined by a class or the next one": own_or_next(ids=TABLE * 3 % 7),
    "a class whose entry is looked up": looked_up_by_class(ids=TABLE * 3 % 7, colours=np.arange(13) % 3),
}


def holding(relation: Relation) -> np.ndarray:
    """Where all parts of a relation hold."""
    filters = (relation.query_filter, relation.key_filter, relation.residual)
    found = np.ones((N, N), bool)
    for predicate in filters:
        found &= evaluate_predicate(predicate, GRID)
    for join in relation.joins:
        found &= evaluate(join.query, GRID) == evaluate(join.key, GRID)
    for band in relation.bands:
        key = evaluate(band.key, GRID)
        assert (np.diff(np.broadcast_to(key, (N, N)), axis=1) >= 0).all()
        found &= True if band.low is None else evaluate(band.low, GRID) <= key
        found &= True if band.high is None else key <= evaluate(band.high, GRID)
    return found


@pytest.mark.parametrize("name", PATTERNS)
def test_parts_of_a_relation_equal_its_clause(name: str) -> None:
    for clause in disjoint_clauses(PATTERNS[name].predicate):
        wanted = np.broadcast_to(evaluate_predicate(clause.predicate(), GRID), (N, N))
        relation = relate(clause, N)
        np.testing.assert_array_equal(holding(relation), wanted)
        assert relation.query_filter.free <= {I}
        assert relation.key_filter.free <= {J}
        assert all(I not in join.key.free_symbols and J not in join.query.free_symbols for join in relation.joins)
        natural = relation.in_natural_order(clause)
        np.testing.assert_array_equal(holding(natural), wanted)
        assert (natural.query_filter, natural.key_filter, natural.joins) == (TRUE, TRUE, ())


@pytest.mark.parametrize(
    ("name", "joins", "bands", "residuals"),
    [("causal", 0, 1, 0), ("joined by a table", 1, 1, 0), ("bounded by a table", 0, 1, 0), ("a residual", 0, 0, 1)],
)
def test_spans_become_joins_bands_and_residuals(name: str, joins: int, bands: int, residuals: int) -> None:
    (clause,) = disjoint_clauses(PATTERNS[name].predicate)
    relation = relate(clause, N)
    assert (len(relation.joins), len(relation.bands)) == (joins, bands)
    assert (relation.residual != TRUE) == bool(residuals)


def test_falling_tables_are_negated() -> None:
    (clause,) = disjoint_clauses(rising(marks=TABLE[::-1].copy()).predicate)
    (band,) = relate(clause, N).bands
    assert isinstance(-band.key, sympy.Function)
    assert band.high is None


def test_disjoint_clauses_are_unchanged() -> None:
    pattern = attncc.pattern(lambda i, j: (i * j % 7 == 1) & (i - j < 9) | (i * j % 5 > 2) & (i - j >= 9))
    found = disjoint_clauses(pattern().predicate)
    assert len(found) == 2
    assert set(found) == set(clauses(pattern().predicate))


@pytest.mark.parametrize("name", ["joined by either of two tables", "joined by a class or the next one"])
def test_comparisons_that_a_join_settles_for_one_side_are_filters(name: str) -> None:
    relations = [relate(clause, N) for clause in disjoint_clauses(PATTERNS[name].predicate)]
    assert len(relations) > 1
    assert all(relation.residual == TRUE for relation in relations)
