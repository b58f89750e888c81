"""Predicates as trees with shared parts: equal parts are one object, visited once."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from functools import reduce
from operator import and_, or_, xor

import numpy as np
import pytest

from attncc.frontend.language import Index, Table
from attncc.ir.evaluate import evaluate_predicate
from attncc.ir.interval import ALWAYS, NEVER, verdict
from attncc.ir.normal import structure
from attncc.ir.predicate import FALSE, TRUE, And, Atom, Or, Predicate, conjunction, disjunction
from attncc.ir.symbols import H, I, J

i, j = Index.of(I), Index.of(J)
LINKS = [(j % (k + 3) == k) if k % 2 else (i - k * j < 5) for k in range(40)]
CHAIN = reduce(xor, LINKS).predicate
ROWS, COLS = np.arange(50)[:, None], np.arange(60)[None, :]


def test_chains_of_xor_grow_linearly() -> None:
    assert CHAIN.occurrences > 1 << 40
    assert len(CHAIN.atoms) == 2 * len(LINKS)
    assert len(CHAIN.shared) < 4 * len(LINKS)
    expected = reduce(xor, (evaluate_predicate(link.predicate, {I: ROWS, J: COLS}) for link in LINKS))
    np.testing.assert_array_equal(evaluate_predicate(CHAIN, {I: ROWS, J: COLS}), expected)
    assert len(structure(CHAIN)) < 1000


def test_verdicts_of_a_chain_agree_with_evaluation() -> None:
    first = np.arange(0, 48)
    answers = verdict(CHAIN, {I: (first, first), J: (first, first)})
    holds = evaluate_predicate(CHAIN, {I: first, J: first})
    np.testing.assert_array_equal(answers, np.where(holds, ALWAYS, NEVER))


def test_equal_connectives_are_one_object() -> None:
    one, other = (((i < 3) & (j > 4)) | (i == j) for _ in range(2))
    assert one.predicate is other.predicate
    assert one.predicate.negated().negated() is one.predicate
    assert CHAIN.negated().negated() is CHAIN
    assert pickle.loads(pickle.dumps(CHAIN)) == CHAIN
    assert (CHAIN ^ CHAIN, CHAIN ^ ~CHAIN) != (TRUE, FALSE)  # contradictions of unions aren't looked for


def test_maps_visit_each_comparison_once() -> None:
    seen = []
    assert CHAIN.map(lambda atom: seen.append(atom) or atom) is CHAIN
    assert len(seen) < 10 * len(LINKS)


PARTS = [(i < 20).predicate, (i % 3 == j % 3).predicate, (i - j != 4).predicate, TRUE, FALSE]


def mask(predicate: Predicate) -> np.ndarray:
    return np.broadcast_to(evaluate_predicate(predicate, {I: ROWS, J: COLS}), (50, 60))


@pytest.mark.parametrize("operator", [and_, or_, xor])
def test_operators_and_complements_agree_with_sets(operator: Callable) -> None:
    for first in PARTS:
        for second in PARTS:
            for a, b in ((first, second), (~first, second), (first & second, ~second), (first | second, first)):
                made = operator(a, b)
                np.testing.assert_array_equal(mask(made), operator(mask(a), mask(b)))
                np.testing.assert_array_equal(mask(~made), ~mask(made))
                assert ~~made == made


@pytest.mark.parametrize("relation", ["ge", "eq", "ne"])
def test_negated_comparisons_are_comparisons(relation) -> None:
    atom = Atom(relation, I - 2 * J + 3)
    assert isinstance(~atom, Atom)
    assert ~~atom == atom
    np.testing.assert_array_equal(mask(~atom), ~mask(atom))


def test_connectives_are_flat_and_have_no_constants() -> None:
    a, b, c = PARTS[:3]
    assert (a & b) & c == a & (b & c) == conjunction([c, TRUE, b, a])
    assert (a | b) | c == disjunction([c, b, FALSE, a])
    assert isinstance(a & b & c, And)
    assert (a & b & c).args == {a, b, c}
    assert isinstance((a & b) | c, Or)
    assert (a & TRUE, a | FALSE, a & FALSE, a | TRUE) == (a, a, FALSE, TRUE)
    assert (conjunction([]), disjunction([]), conjunction([a]), a & a) == (TRUE, FALSE, a, a)


def test_complementary_comparisons_cancel() -> None:
    a, b, c = PARTS[:3]
    assert (a & b) & (~b & c) == FALSE
    assert (a | b) | (~b | c) == TRUE
    assert a ^ a == FALSE


def test_trees_report_symbols_tables_and_size() -> None:
    table = Table([1, 2, 3])
    tree = ((i < 9) & ((table[j] == 2) | (Index.of(H) >= 1))).predicate
    assert tree.free == {I, J, H}
    assert [each.data.tolist() for each in tree.tables] == [[1, 2, 3]]
    assert (tree.occurrences, tree.depth, len(tree.atoms)) == (3, 2, 3)
    assert not tree.shared
    assert (TRUE.free, TRUE.atoms, TRUE.occurrences) == (frozenset(), frozenset(), 1)


def test_maps_rebuild_changed_parts_and_fold_constants() -> None:
    a, b, c = PARTS[:3]
    tree = (a & b) | c
    assert tree.map(lambda atom: TRUE if atom == a else atom) == b | c
    assert tree.map(lambda atom: FALSE if atom in (a, c) else atom) == FALSE
    assert tree.map(lambda atom: ~atom) == (~a & ~b) | ~c
