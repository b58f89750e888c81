"""BigBird: blocks of the window, global and random ones, the paper's edge counts, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import attncc
from attncc.testing import check_pattern
from attncc_bigbird.blocks import etc, itc, random_blocks


@pytest.mark.parametrize("causal", [False, True])
def test_bigbird_agrees_with_the_oracle(causal: bool) -> None:
    pattern = attncc.load("bigbird", **itc(61, block=4, random=2, heads=2, causal=causal))
    check_pattern(pattern.causal() if causal else pattern, lengths=(17, 61))


def test_bigbird_with_tokens_in_front_agrees_with_the_oracle() -> None:
    check_pattern(attncc.load("bigbird_etc", **etc(60, 5, block=4, random=2, heads=2)), lengths=(3, 17, 65))


@st.composite
def drawings(draw: st.DrawFn) -> dict[str, Any]:
    """Draw arguments of random_blocks that leave enough blocks to draw from."""
    window, causal = draw(st.sampled_from([1, 3, 5])), draw(st.booleans())
    global_blocks = draw(st.lists(st.integers(0, 3), unique=True, max_size=3)) + draw(st.sampled_from([[], [-1]]))
    blocks = draw(st.integers(12, 24))
    random = draw(st.integers(0, blocks if causal else blocks - window - len(global_blocks)))
    found = {"blocks": blocks, "random": random, "window": window, "global_blocks": global_blocks, "causal": causal}
    return found | {"seed": draw(st.integers(0, 9)), "heads": draw(st.integers(1, 3))}


@given(drawings())
def test_random_blocks_are_different_and_neither_near_nor_global(drawn: dict[str, Any]) -> None:
    blocks, window = drawn["blocks"], drawn["window"]
    found = random_blocks(**drawn)
    assert found.shape == (drawn["heads"], blocks, drawn["random"])
    np.testing.assert_array_equal(found, random_blocks(**drawn))
    known = {number % blocks for number in drawn["global_blocks"]}
    for row in range(blocks):
        legal = {b for b in range(row if drawn["causal"] else blocks) if abs(b - row) > window // 2} - known
        wanted = 0 if row in known else min(drawn["random"], len(legal))
        for entries in found[:, row]:
            kept = entries[entries >= 0].tolist()
            assert len(kept) == len(set(kept)) == wanted
            assert set(kept) <= legal


def test_seeds_and_heads_have_random_blocks_of_their_own() -> None:
    (first, second), (other, _) = random_blocks(32, 3, heads=2), random_blocks(32, 3, heads=2, seed=1)
    assert (first != second).any()
    assert (first != other).any()


def test_all_legal_blocks_are_drawn_equally_often() -> None:
    found = random_blocks(8, 2, global_blocks=(0,), heads=3000)[:, 4]
    counts = np.bincount(found.ravel(), minlength=8)
    assert counts[[0, 3, 4, 5]].sum() == 0
    np.testing.assert_allclose(counts[[1, 2, 6, 7]], 1500, rtol=0.1)


@settings(max_examples=20)
@given(st.integers(8, 20), st.integers(1, 3), st.integers(0, 2), st.integers(1, 4))
def test_edges_are_those_of_the_paper(blocks: int, size: int, random: int, extra: int) -> None:
    """A row of blocks is a window of 3, 2 global blocks and r random ones; section 2, and appendix D on blocks."""
    inside = itc(blocks * size, block=size, random=random)
    of_itc = attncc.plan(attncc.load("bigbird", **inside), blocks * size).nnz
    assert of_itc == size * size * (7 * blocks - 12 + random * (blocks - 2))
    n = blocks * size
    outside = etc(n, extra, block=size, random=random)
    of_etc = attncc.plan(attncc.load("bigbird_etc", **outside), n + extra).nnz
    assert of_etc == size * size * (3 * blocks - 2 + random * blocks) + extra * (2 * n + extra)


def test_a_row_of_blocks_needs_no_mask() -> None:
    made = attncc.plan(attncc.load("bigbird", **itc(4096)), 4096)
    assert [work.tiles.num_partial for work in made.all_passes()] == [0, 0]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"random": 6}, "random=6 with 10 blocks"),
        ({"random": 11, "causal": True}, "random=11 with 10 blocks"),
        ({"random": -1}, "random=-1"),
        ({"window": 0}, "window=0"),
        ({"window": 2}, "window=2"),
        ({"heads": 0}, "heads=0"),
        ({"block": 0}, "block=0"),
        ({"global_blocks": [0, 0]}, "global_blocks has 0, which is there twice"),
        ({"global_blocks": [9, -1]}, "global_blocks has 9"),
        ({"global_blocks": [10]}, "global_blocks has 10"),
        ({"global_blocks": [-11]}, "global_blocks has -11"),
        ({"n": 0}, "n=0"),
    ],
)
def test_errors_name_the_parameter(arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(attncc.ParameterError, match=named):
        itc(**{"n": 40, "block": 4} | arguments)


def test_there_are_tokens_in_front_of_etc() -> None:
    with pytest.raises(attncc.ParameterError, match="extra=0"):
        etc(40, 0)
