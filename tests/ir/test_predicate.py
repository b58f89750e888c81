"""Predicates as trees with shared parts: one object each, walked once, the same after a copy."""

from __future__ import annotations

import pickle
from functools import reduce
from operator import xor

import numpy as np

from attncc.ir.evaluate import evaluate_predicate
from attncc.ir.interval import ALWAYS, NEVER, verdict
from attncc.ir.language import Index
from attncc.ir.normal import structure
from attncc.ir.predicate import FALSE, TRUE
from attncc.ir.symbols import I, J

i, j = Index.of(I), Index.of(J)
LINKS = [(j % (k + 3) == k) if k % 2 else (i - k * j < 5) for k in range(40)]
CHAIN = reduce(xor, LINKS).predicate
ROWS, COLS = np.arange(50)[:, None], np.arange(60)[None, :]


def test_a_chain_of_exclusive_ors_grows_by_its_links_and_not_by_their_combinations() -> None:
    assert CHAIN.occurrences > 1 << 40
    assert len(CHAIN.atoms) == 2 * len(LINKS)
    assert len(CHAIN.shared) < 4 * len(LINKS)
    expected = reduce(xor, (evaluate_predicate(link.predicate, {I: ROWS, J: COLS}) for link in LINKS))
    np.testing.assert_array_equal(evaluate_predicate(CHAIN, {I: ROWS, J: COLS}), expected)
    assert len(structure(CHAIN)) < 1000


def test_verdicts_of_a_chain_are_proofs() -> None:
    first = np.arange(0, 48)
    answers = verdict(CHAIN, {I: (first, first), J: (first, first)})
    holds = evaluate_predicate(CHAIN, {I: first, J: first})
    np.testing.assert_array_equal(answers, np.where(holds, ALWAYS, NEVER))


def test_equal_connectives_are_one_object_and_negation_comes_back_to_it() -> None:
    one, other = (((i < 3) & (j > 4)) | (i == j) for _ in range(2))
    assert one.predicate is other.predicate
    assert one.predicate.negated().negated() is one.predicate
    assert CHAIN.negated().negated() is CHAIN
    assert pickle.loads(pickle.dumps(CHAIN)) == CHAIN
    assert (CHAIN ^ CHAIN, CHAIN ^ ~CHAIN) != (TRUE, FALSE)  # contradictions of unions aren't looked for


def test_every_comparison_is_changed_once() -> None:
    seen = []
    assert CHAIN.map(lambda atom: seen.append(atom) or atom) is CHAIN
    assert len(seen) < 10 * len(LINKS)
