"""Chosen rows, compared with the keys that queries see in the dense mask."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import attncc
from attncc.backends.inputs import Inputs
from attncc.distributed.schedules import traffic
from attncc.distributed.schedules.chosen_rows import ChosenRows
from attncc.distributed.schedules.problem import PartitioningProblem
from attncc.distributed.schedules.settings import Settings
from attncc.distributed.schedules.validation import check_covers
from attncc.errors import DistributedError

N, RANKS = 96, 4
INPUTS = Inputs(batch=1, heads=2, kv_heads=2, head_dim=8, value_dim=8, dtype="fp32")


@attncc.pattern
def named(i, j, *, keys: attncc.Lists):
    return j.isin(keys[i])


@attncc.pattern
def blocks_and_neighbours(i, j, *, blocks: attncc.Lists):
    return (j // 4).isin(blocks[i // 4]) | (abs(i - j) < 3)


def problem(pattern: attncc.Pattern) -> PartitioningProblem:
    return PartitioningProblem(pattern, N, RANKS, INPUTS)


@given(st.integers(1, 4), st.sampled_from(["contiguous", "zigzag", "balanced"]), st.integers(0, 1000))
def test_a_rank_gets_the_rows_that_its_queries_name_and_no_others(width: int, partition: str, seed: int) -> None:
    keys = np.random.default_rng(seed).integers(-1, N, (N, width))
    pattern = named(keys=keys)
    made = problem(pattern).schedule(Settings(partition, unit=16))
    (heads,), mask = made.head_classes, attncc.dense_mask(pattern, N).numpy()
    for rank in range(RANKS):
        own = made.partition.tokens(rank)
        seen = np.setdiff1d(np.flatnonzero(mask[own].any(0)), own)
        got = heads.keys.unit[heads.keys.target == rank]
        tokens = heads.key_tokens(made.partition, rank, np.unique(got))
        assert set(tokens) <= set(seen)
        if not len(heads.queries):
            assert set(tokens) == set(seen)


def test_bytes_are_those_of_the_rows() -> None:
    pattern = named(keys=(np.arange(N)[:, None] + 24) % N)  # each query sees one key, of the next rank
    made = problem(pattern).schedule(Settings(unit=8))
    (flow,) = traffic.forward(made, INPUTS)[:1]
    rows = flow.received(RANKS) / (INPUTS.kv_heads * (INPUTS.head_dim + INPUTS.value_dim) * 4)
    assert rows.tolist() == [24] * RANKS
    sparse = named(keys=np.where(np.arange(N) % 8 == 0, (np.arange(N) + 24) % N, -1)[:, None])
    (flow,) = traffic.forward(problem(sparse).schedule(Settings(unit=8)), INPUTS)[:1]
    assert (flow.received(RANKS) / (INPUTS.kv_heads * (INPUTS.head_dim + INPUTS.value_dim) * 4)).tolist() == [3] * RANKS


@pytest.mark.parametrize("unit", [4, 16])
def test_clauses_without_lists_count_with_whole_units(unit: int) -> None:
    blocks = np.random.default_rng(0).integers(-1, N // 4, (N // 4, 2))
    pattern = blocks_and_neighbours(blocks=blocks)
    made = problem(pattern).schedule(Settings(unit=unit))
    (heads,), mask = made.head_classes, attncc.dense_mask(pattern, N).numpy()
    for task in heads.tasks:
        tokens = made.partition.chunking.tokens
        whole, held = tokens(task.keys), heads.key_tokens(made.partition, task.rank, task.keys)
        missing = np.setdiff1d(whole, held)
        assert not mask[np.ix_(tokens(task.queries), missing)].any()


def test_whole_units_are_kept_as_they_are() -> None:
    pattern = blocks_and_neighbours(blocks=(np.arange(N // 4)[:, None] + 8) % (N // 4))
    (heads,) = problem(pattern).schedule(Settings(unit=4)).head_classes
    assert heads.chosen is None


def test_schedules_that_leave_rows_out_are_refused() -> None:
    own = problem(named(keys=(np.arange(N)[:, None] * 7 + 24) % N))
    made = own.schedule(Settings(unit=16))
    (heads,) = made.head_classes
    check_covers(made, own)
    fewer = ChosenRows(heads.chosen.chunking, tuple(rows[1:] for rows in heads.chosen.positions))
    with pytest.raises(DistributedError, match="doesn't get the key at"):
        check_covers(replace(made, head_classes=(replace(heads, chosen=fewer),)), own)
