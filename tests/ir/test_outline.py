"""Outlines: equal for predicates that differ in the contents of tables only."""

from __future__ import annotations

import numpy as np

import attncc
from attncc.frontend.language import Table
from attncc.ir.outline import outline


def document(data: object, name: str = "ids") -> attncc.Pattern:
    return attncc.load("document", ids=Table(data, name))


def test_without_tables_it_is_the_digest() -> None:
    assert outline(attncc.load("strided", l=8).predicate) == attncc.load("strided", l=8).key


def test_contents_are_left_out() -> None:
    found = {outline(document(np.arange(n) // m).causal().predicate) for n in (64, 100) for m in (3, 7)}
    assert len(found) == 1


def test_the_rest_is_not() -> None:
    ids = np.arange(64) // 8
    patterns = [document(ids), document(ids).causal(), document(np.stack([ids, ids])), document(ids % 2 == 0)]
    found = {outline(pattern.predicate) for pattern in patterns}
    assert len(found) == len(patterns)


def test_two_tables_of_one_name_are_not_taken_for_one() -> None:
    one, other = document(np.arange(64) // 8), document(np.arange(64) % 8)
    assert outline((one & other).predicate) != outline(one.predicate)
    assert outline((one & other).predicate) != outline((one | other).predicate)
