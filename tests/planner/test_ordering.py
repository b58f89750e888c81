"""Bands of a table's values: keys are sorted by the value, and each query sees a range of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import attncc
from attncc.testing.check import check_attention, check_plan
from attncc.testing.oracle import Problem


@attncc.pattern
def neighbours(i, j, *, bucket: attncc.Table, far: int):
    """Buckets next to one's own (Kitaev et al. 2020, section 2, without the limit of chunks)."""
    return abs(bucket[j] - bucket[i]) <= far


@attncc.pattern
def before(i, j, *, bucket: attncc.Table):
    return ((bucket[j] == bucket[i]) | (bucket[j] == bucket[i] - 1)) & (j <= i)


@attncc.pattern
def crossed(i, j, *, left: attncc.Table, right: attncc.Table, odd: bool):
    """Two tables, and filters beside the band."""
    near = (right[j] >= left[i] - 3) & (right[j] < left[i] + 2)
    return near & (j % 3 != 0) & (i % 2 == 1) if odd else near


def test_buckets_are_laid_out_in_little_more_than_they_hold() -> None:
    buckets = np.random.default_rng(0).permutation(4096) // 64
    for pattern in (before(bucket=buckets), neighbours(bucket=buckets, far=1)):
        plan = attncc.plan(pattern, 4096, tile=(64, 64))
        assert [work.layout.kind for work in plan.all_passes()] == ["sorted"]
        assert sum(work.tiles.visited for work in plan.all_passes()) <= 2 * plan.nnz


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=40), st.integers(0, 3), st.data())
def test_bands_of_values_connect_the_pairs_that_numpy_connects(values: list[int], far: int, data) -> None:
    n, table = len(values), np.array(values)
    other = np.array(data.draw(st.permutations(values)))
    i, j = np.indices((n, n))
    near = (other[j] >= table[i] - 3) & (other[j] < table[i] + 2)
    for pattern, mask in (
        (neighbours(bucket=table, far=far), abs(table[j] - table[i]) <= far),
        (before(bucket=table), ((table[j] == table[i]) | (table[j] == table[i] - 1)) & (j <= i)),
        (crossed(left=table, right=other, odd=False), near),
        (crossed(left=table, right=other, odd=True), near & (j % 3 != 0) & (i % 2 == 1)),
    ):
        check_plan(attncc.plan(pattern, n, tile=(16, 16)), mask)


@pytest.mark.parametrize("backend", ["torch", "triton"])
def test_outputs_and_gradients_agree_with_the_oracle(backend: str) -> None:
    buckets = np.random.default_rng(1).integers(0, 6, 45)
    for pattern in (before(bucket=buckets), neighbours(bucket=buckets, far=1)):
        mask = attncc.dense_mask(pattern, 45)
        problem = Problem.drawn(45, 45, heads=2, kv_heads=1, dtype=torch.float32)
        check_attention(pattern, mask, problem, backend=backend)
