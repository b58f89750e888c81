"""Outlines are equal for predicates that differ only in the contents of tables."""

from __future__ import annotations

import numpy as np

import attncc
from attncc.frontend.language import Table
from attncc.ir.outline import outline


def document(data: object, name: str = "ids") -> attncc.Pattern:
    return attncc.load("document", ids=Table(data, name))


def test_outlines_without_tables_equal_the_digest() -> None:
    assert outline(attncc.load("strided", l=8).predicate) == attncc.load("strided", l=8).key


def test_outlines_omit_the_contents_of_tables() -> None:
    found = {outline(document(np.arange(n) // m).causal().predicate) for n in (64, 100) for m in (3, 7)}
    assert len(found) == 1


def test_outlines_keep_everything_else() -> None:
    ids = np.arange(64) // 8
    patterns = [document(ids), document(ids).causal(), document(np.stack([ids, ids])), document(ids % 2 == 0)]
    found = {outline(pattern.predicate) for pattern in patterns}
    assert len(found) == len(patterns)


def test_tables_of_one_name_stay_distinct() -> None:
    one, other = document(np.arange(64) // 8), document(np.arange(64) % 8)
    assert outline((one & other).predicate) != outline(one.predicate)
    assert outline((one & other).predicate) != outline((one | other).predicate)
