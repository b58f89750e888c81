"""Memberships: tiles are found entry by entry, counts are exact, and attention agrees with a mask made by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import attncc
from attncc.planner import membership as module
from attncc.planner.bisect import TileGrid
from attncc.planner.membership import is_enumerated
from attncc.planner.tiles import FULL
from attncc.testing.check import check_attention, check_plan
from attncc.testing.oracle import Problem

BLOCK = 16


@attncc.pattern
def chosen(i, j, *, blocks: attncc.Lists):
    """Blocks of keys that a list names."""
    return (j // BLOCK).isin(blocks[i // BLOCK])


@attncc.pattern
def chosen_keys(i, j, *, keys: attncc.Lists):
    """Keys that a list names: top-k of an indexer."""
    return j.isin(keys[i])


@attncc.pattern
def choosing(i, j, *, queries: attncc.Lists):
    """Blocks of queries that a list names for each block of keys: routing."""
    return (i // BLOCK).isin(queries[j // BLOCK])


@attncc.pattern
def either(i, j, *, first: attncc.Lists, second: attncc.Lists):
    return (j // BLOCK).isin(first[i // BLOCK]) | (j // 7).isin(second[i // BLOCK])


@attncc.pattern
def big_bird(i, j, *, blocks: attncc.Lists):
    """Zaheer et al. (2020): a window, global blocks and random blocks."""
    near = abs(i // BLOCK - j // BLOCK) <= 1
    return near | (i // BLOCK < 1) | (j // BLOCK < 1) | (j // BLOCK).isin(blocks[i // BLOCK])


@attncc.pattern
def laid_out(i, j, *, blocks: attncc.Table):
    return blocks[i // BLOCK, j // BLOCK]


@attncc.pattern
def numbered(i, j, *, blocks: attncc.Table):
    return blocks[i // BLOCK, j // BLOCK] == 3


def drawn(rows: int, size: int, most: int, *leading: int, seed: int = 0) -> np.ndarray:
    """Lists with repeated entries, with none (-1 and -2), and beyond the last."""
    return np.random.default_rng(seed).integers(-2, most + 2, (*leading, rows, size))


def mask(lists: np.ndarray, q_len: int, kv_len: int, by: int = BLOCK, of: int = BLOCK) -> np.ndarray:
    """Which query sees which key, bool (q_len, kv_len), entry by entry."""
    found = np.zeros((q_len, kv_len), bool)
    for i in range(q_len):
        for entry in lists[i // by]:
            if entry >= 0:
                found[i, entry * of : (entry + 1) * of] = True
    return found


Q, K = 101, 150
I, J = np.arange(Q)[:, None], np.arange(K)[None, :]
ROWS, COLS = -(-Q // BLOCK), -(-K // BLOCK)
BLOCKS = drawn(ROWS, 3, COLS)
OTHERS = drawn(ROWS, 4, K // 7, seed=1)
EMPTY = np.full((ROWS, 2), -1)
ONE, TWO = mask(BLOCKS, Q, K), mask(OTHERS, Q, K, of=7)
TOP = drawn(Q, 5, K, seed=2)
NEAR = abs(I // BLOCK - J // BLOCK) <= 1
CASES = {
    "blocks": (chosen(blocks=BLOCKS), ONE),
    "nothing": (chosen(blocks=EMPTY), np.zeros((Q, K), bool)),
    "keys": (chosen_keys(keys=TOP), mask(TOP, Q, K, by=1, of=1)),
    "queries": (choosing(queries=drawn(COLS, 3, ROWS)), mask(drawn(COLS, 3, ROWS), K, Q).T),
    "a union": (either(first=BLOCKS, second=OTHERS), ONE | TWO),
    "an intersection": (chosen(blocks=BLOCKS) & ~either(first=EMPTY, second=OTHERS), ONE & ~TWO),
    "a complement": (~chosen(blocks=BLOCKS), ~ONE),
    "causal": (chosen(blocks=BLOCKS).causal(), ONE & (J <= I)),
    "causal keys": (chosen_keys(keys=TOP).causal(), mask(TOP, Q, K, by=1, of=1) & (J <= I)),
    "a window": (chosen(blocks=BLOCKS) & attncc.load("sliding_window", window=20), ONE & (J <= I) & (I - J < 20)),
    "a residue": (chosen(blocks=BLOCKS) & attncc.load("strided", l=4).layers(1), ONE & (J <= I) & ((I - J) % 4 == 0)),
    "BigBird": (big_bird(blocks=BLOCKS), NEAR | (I < BLOCK) | (J < BLOCK) | ONE),
    "a table": (laid_out(blocks=np.random.default_rng(3).random((ROWS, COLS)) < 0.2), None),
}
LAYOUT = np.random.default_rng(4).integers(0, 5, (ROWS, COLS))
CASES["a number in a table"] = (numbered(blocks=LAYOUT), LAYOUT[I // BLOCK, J // BLOCK] == 3)
CASES["no table"] = (~CASES["a table"][0], ~CASES["a table"][0].parameters["blocks"].data[I // BLOCK, J // BLOCK])
CASES["a table"] = (CASES["a table"][0], CASES["a table"][0].parameters["blocks"].data[I // BLOCK, J // BLOCK])


@pytest.mark.parametrize("tile", [(16, 16), (32, 64), (128, 128)])
@pytest.mark.parametrize("name", CASES)
def test_plans_agree_with_the_mask(name: str, tile: tuple[int, int]) -> None:
    pattern, right = CASES[name]
    check_plan(attncc.plan(pattern, Q, K, tile=tile), right)


@pytest.mark.parametrize("name", CASES)
def test_attention_agrees_with_the_oracle(name: str) -> None:
    pattern, right = CASES[name]
    problem = Problem.drawn(Q, K, heads=2, kv_heads=1, value_dim=24)
    for plan in ("cheapest", "fused"):
        config = {f"{direction}.plan": plan for direction in ("forward", "backward")}
        check_attention(pattern, torch.from_numpy(right), problem, config=config, backend="torch")


@pytest.mark.parametrize("leading", [(2,), (2, 3), (1, 3), (2, 1)])
def test_lists_differ_by_batch_entry_and_head(leading: tuple[int, ...]) -> None:
    lists = drawn(ROWS, 3, COLS, *leading)
    whole = np.broadcast_to(lists.reshape(*leading, *[1] * (2 - len(leading)), ROWS, 3), (2, 3, ROWS, 3))
    right = torch.from_numpy(np.array([[mask(each, Q, K) for each in entry] for entry in whole]))
    problem = Problem.drawn(Q, K, batch=2, heads=3, kv_heads=3)
    check_attention(chosen(blocks=lists).causal(), right & torch.from_numpy(J <= I), problem)


def test_a_query_offset_moves_the_rows() -> None:
    lists = drawn(-(-(Q + 50) // BLOCK), 3, COLS)
    right = mask(lists, Q + 50, K)[50:]
    check_plan(attncc.plan(chosen(blocks=lists), Q, K, q_offset=50), right)
    check_attention(chosen(blocks=lists), torch.from_numpy(right), Problem.drawn(Q, K), q_offset=50)


@settings(max_examples=60)
@given(
    st.integers(0, 999),
    st.sampled_from([1, 3, 16, 20]),
    st.sampled_from([1, 5, 16]),
    st.integers(1, 6),
    st.sampled_from([(16, 16), (64, 32)]),
    st.booleans(),
)
def test_drawn_lists_agree_with_the_mask(seed, by: int, of: int, size: int, tile: tuple[int, int], causal) -> None:
    @attncc.pattern
    def one(i, j, *, lists: attncc.Lists):
        return (j // of).isin(lists[i // by])

    lists = drawn(-(-Q // by), size, K // of, seed=seed)
    pattern, right = one(lists=lists), mask(lists, Q, K, by, of)
    made = pattern.causal() if causal else pattern
    check_plan(attncc.plan(made, Q, K, tile=tile), right & (J <= I) if causal else right)


def test_listed_tiles_are_the_ones_visited_and_none_is_partial() -> None:
    """Blocks of 64 fill tiles of 64, which the planner takes in place of 128."""
    length, size = 4096, 4
    lists = np.random.default_rng(0).integers(-1, length // 64, (length // 64, size))

    @attncc.pattern
    def blocks_of_64(i, j, *, lists: attncc.Lists):
        return (j // 64).isin(lists[i // 64])

    (work,) = attncc.plan(blocks_of_64(lists=lists), length).all_passes()
    right = np.zeros((length // 64, length // 64), np.int8)
    for row, entries in enumerate(lists):
        right[row, entries[entries >= 0]] = FULL
    np.testing.assert_array_equal(work.tiles.classify(), right)
    assert work.tiles.num_partial == 0
    assert work.nnz == (right == FULL).sum() * 64 * 64


def test_lists_beside_a_triangle_are_a_pass_without_a_look_at_pairs() -> None:
    """One pass for both would evaluate the lists for the pairs of each triangle."""
    blocks = np.random.default_rng(0).integers(0, 128, (128, 15))
    pattern = attncc.load("moba", blocks=blocks, queries=64)
    own, listed = attncc.plan(pattern, 8192, tile=(64, 64), target="cpu").all_passes()
    assert own.residual is None
    assert listed.tiles.num_partial == 0


def test_long_sequences_are_planned_and_counted_without_a_look_at_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    length, size = 1 << 20, 16
    lists = np.random.default_rng(0).integers(0, length // 64, (length // 64, size))
    looked_at = []
    elements = TileGrid.elements
    monkeypatch.setattr(
        TileGrid, "elements", lambda grid, corners: looked_at.append(corners) or elements(grid, corners)
    )

    @attncc.pattern
    def blocks_of_64(i, j, *, lists: attncc.Lists):
        return (j // 64).isin(lists[i // 64])

    made = attncc.plan(blocks_of_64(lists=lists), length)
    assert made.nnz == sum(len(set(row)) for row in lists.tolist()) * 64 * 64
    assert sum(map(len, looked_at)) == 0
    future = attncc.plan(blocks_of_64(lists=lists).causal(), length)
    assert future.all_passes()[0].is_enumerated
    assert future.nnz == sum(_causal(row, set(entries)) for row, entries in enumerate(lists.tolist()))
    assert sum(map(len, looked_at)) < 1 << 12  # tiles on the diagonal


def _causal(row: int, entries: set[int]) -> int:
    return sum(64 * 64 for entry in entries if entry < row) + 64 * 65 // 2 * (row in entries)


def test_scattered_keys_are_counted_pair_by_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    """All tiles have some of the keys: to look at all pairs of these would be to look at all pairs."""
    length, size = 2048, 8
    keys = np.random.default_rng(0).integers(0, length, (length, size))
    pairs = []
    elements = TileGrid.elements

    def counted(grid: TileGrid, corners: np.ndarray) -> object:
        pairs.append(len(corners) * int(grid.block.prod()))
        return elements(grid, corners)

    made = attncc.plan(chosen_keys(keys=keys).causal(), length, target="h100").preferring("split")
    monkeypatch.setattr(TileGrid, "elements", counted)
    (work,) = made.all_passes()
    assert work.nnz == sum(len({entry for entry in row if entry <= i}) for i, row in enumerate(keys.tolist()))
    assert 0 < sum(pairs) <= length * size


def test_entries_that_are_too_many_are_bisected(monkeypatch: pytest.MonkeyPatch) -> None:
    pattern, right = CASES["causal"]
    monkeypatch.setattr(module, "MOST", 0)
    check_plan(attncc.plan(attncc.Pattern(pattern.subsets, "again"), Q, K, tile=(8, 8)), right)


def test_small_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    pattern, right = CASES["causal keys"]
    monkeypatch.setattr(module, "CHUNK", 7)
    check_plan(attncc.plan(attncc.Pattern(pattern.subsets, "in chunks"), Q, K, tile=(4, 8)), right)


@pytest.mark.parametrize("name", CASES)
def test_searching_for_numbers_changes_nothing(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    pattern, right = CASES[name]
    monkeypatch.setattr(module, "SPREAD", 0)
    check_plan(attncc.plan(attncc.Pattern(pattern.subsets, "searched"), Q, K, tile=(8, 8)), right)


def test_numbers_of_both_positions_are_bisected() -> None:
    """A number that depends on both positions has no classes; the answer is the same."""

    @attncc.pattern
    def steps(i, j, *, gaps: attncc.Lists):
        return (i - j).isin(gaps[i // BLOCK])

    gaps = drawn(ROWS, 6, 40)
    made = attncc.plan(steps(gaps=gaps), Q, K, tile=(16, 16))
    check_plan(made, np.array([[i - j >= 0 and i - j in gaps[i // BLOCK] for j in range(K)] for i in range(Q)]))
    assert not any(is_enumerated(work.layout) for work in made.all_passes())


@attncc.pattern
def filtered(i, j, *, blocks: attncc.Lists, is_global: attncc.Table):
    return ~is_global[i // BLOCK] & (j // BLOCK).isin(blocks[i // BLOCK])


@pytest.mark.parametrize("length", [256, 250, 241])
def test_tiles_in_natural_order_are_sought_once_where_none_is_partial(monkeypatch, length: int) -> None:
    """Nothing is cheaper than connected pairs alone, and nothing gathered: the filtered order isn't tiled."""
    sought = []
    tiles = module.Membership.tiles
    monkeypatch.setattr(module.Membership, "tiles", lambda self, *blocks: sought.append(1) or tiles(self, *blocks))
    blocks = (np.arange(16)[:, None] + np.array([0, 3])) % 16
    pattern = filtered(blocks=attncc.Lists(blocks), is_global=np.arange(16) == 7)
    made = attncc.plan(pattern, length, 256, tile=(BLOCK, BLOCK))
    assert [work.layout.kind for work in made.all_passes()] == ["identity"]
    assert len(sought) == 1
    assert made.nnz == attncc.dense_mask(pattern, length, 256).sum()
