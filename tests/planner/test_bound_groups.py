"""Groups of batch entries and heads that see alike: by predicates, and by rows of tables."""

from __future__ import annotations

import numpy as np
import pytest

import attncc
from attncc.ir.evaluate import evaluate_predicate
from attncc.ir.symbols import B, H, I, J
from attncc.planner.bound_groups import bound_groups
from attncc.planner.shape import Shape

SHAPE = Shape(24, 24, heads=6, batch=3)
ROWS, COLS = np.arange(24)[:, None], np.arange(24)[None, :]
DRAW = np.random.default_rng(0)
IDS = DRAW.integers(0, 4, (3, 24))


@attncc.pattern
def by_both(i, j, h, b):
    """Heads of a parity are alike, and all but the first batch entry."""
    return (j <= i) & (i - j < attncc.where(b == 0, 3 + 4 * (h % 2), 9))


@attncc.pattern
def by_batch(i, j, *, b):
    return i - j < 3 * b


@attncc.pattern
def documents(i, j, *, ids: attncc.Table):
    return (ids[i] == ids[j]) & (j <= i)


@attncc.pattern
def turned(i, j, *, ids: attncc.Table, order: attncc.Table):
    """A table at the entries of another one: both have a row for each batch entry."""
    return ids[order[i]] >= ids[j]


@attncc.pattern
def bounded(i, j, *, ids: attncc.Table, lengths: attncc.Table):
    """A number for each batch entry, beside rows."""
    return (ids[i] == ids[j]) & (j < lengths[0])


@attncc.pattern
def listed(i, j, h, *, blocks: attncc.Lists):
    return (j // 4).isin(blocks[i // 4]) & (j <= i + h % 2)


PATTERNS = [
    by_both(),
    by_batch(),
    attncc.load("causal"),
    documents(ids=IDS),
    documents(ids=IDS[:, None]),
    documents(ids=DRAW.integers(0, 4, (3, 6, 24))),
    documents(ids=DRAW.integers(0, 4, (1, 6, 24))),
    turned(ids=IDS, order=DRAW.integers(0, 24, (3, 24))),
    turned(ids=IDS, order=DRAW.integers(0, 24, (1, 24))),
    bounded(ids=IDS, lengths=[[5], [24], [9]]),
    listed(blocks=DRAW.integers(-1, 6, (3, 1, 6, 2))),
]


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: pattern.name)
def test_groups_partition_heads_and_batch_entries(pattern: attncc.Pattern) -> None:
    seen = np.zeros((SHAPE.batch, SHAPE.heads), int)
    for (batches, heads), found in bound_groups(pattern, SHAPE):
        mask = evaluate_predicate(found.predicate, {I: ROWS, J: COLS, **found.tables})
        for b in batches or range(SHAPE.batch):
            for h in heads or range(SHAPE.heads):
                seen[b, h] += 1
                expected = evaluate_predicate(pattern.predicate, {I: ROWS, J: COLS, B: b, H: h})
                np.testing.assert_array_equal(*np.broadcast_arrays(mask, expected))
    assert (seen == 1).all()


def test_equal_heads_and_batch_entries_share_a_group() -> None:
    alike = [members for members, _ in bound_groups(by_both(), SHAPE)]
    assert sorted(alike) == [((0,), (0, 2, 4)), ((0,), (1, 3, 5)), ((1, 2), (0, 1, 2, 3, 4, 5))]
    assert [members for members, _ in bound_groups(by_batch(), SHAPE)] == [((b,), None) for b in range(3)]
    assert [members for members, _ in bound_groups(documents(ids=IDS[[0, 1, 0]]), SHAPE)] == [
        ((0, 2), None),
        ((1,), None),
    ]


def test_rows_of_tables_share_a_predicate() -> None:
    """So that what the algebra finds out about it holds for all of them."""
    for pattern in (documents(ids=IDS), turned(ids=IDS, order=DRAW.integers(0, 24, (3, 24)))):
        found = [each.predicate for _, each in bound_groups(pattern, SHAPE)]
        assert len(found) == 3
        assert all(each is found[0] for each in found)
