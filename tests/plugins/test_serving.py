"""serving: prefixes, windows with sinks, chunks, rollout trees and block diffusion, by what their papers state."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import attncc
from attncc.planner.tiles import EMPTY
from attncc.testing import check_pattern

N = 48
#: (parent, tokens) of segments: a prompt, two thoughts on it, and three answers to these.
SEGMENTS = [(-1, 7), (0, 5), (1, 8), (1, 3), (0, 6), (4, 4)]


def laid_out(segments: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return `enter` and `leave` of each token, and its segment, of segments whose parents come before them."""
    enter, leave, number = [0] * len(segments), [0] * len(segments), 0

    def walk(node: int) -> None:
        nonlocal number
        enter[node], number = number, number + 1
        for child in (n for n, (parent, _) in enumerate(segments) if parent == node):
            walk(child)
        leave[node] = number

    for root in (n for n, (parent, _) in enumerate(segments) if parent < 0):
        walk(root)
    segment = np.repeat(np.arange(len(segments)), [tokens for _, tokens in segments])
    return np.array(enter)[segment], np.array(leave)[segment], segment


def path(segments: list[tuple[int, int]], node: int) -> list[int]:
    """Return a segment and those that it hangs on."""
    return [] if node < 0 else [*path(segments, segments[node][0]), node]


@st.composite
def trees(draw: st.DrawFn) -> list[tuple[int, int]]:
    size = draw(st.integers(1, 7))
    return [(draw(st.integers(-1, node - 1)), draw(st.integers(1, 6))) for node in range(size)]


@given(trees())
def test_a_rollout_sees_its_past_on_the_path_to_the_root(segments: list[tuple[int, int]]) -> None:
    enter, leave, segment = laid_out(segments)
    found = attncc.dense_mask(attncc.load("rollout_tree", enter=enter, leave=leave), len(segment)).numpy()
    for i, j in np.ndindex(found.shape):
        assert found[i, j] == (j <= i and segment[j] in path(segments, segment[i]))


def test_leaves_of_a_rollout_tree_are_proved_not_to_see_one_another() -> None:
    """The tiles of two leaves are EMPTY in the plan, which is proved without a look at their pairs."""
    enter, leave, segment = laid_out([(-1, 1024), *[(0, 1024)] * 3])
    plan = attncc.plan(attncc.load("rollout_tree", enter=enter, leave=leave), 4096, tile=(64, 64))
    seen = np.zeros((4, 4), bool)
    for work in plan.all_passes():
        tiles = np.argwhere(work.tiles.classify() != EMPTY) * 64
        seen[segment[work.rows.places[tiles[:, 0]]], segment[work.cols.places[tiles[:, 1]]]] = True
    assert seen.tolist() == [[n == 0 or n == row for n in range(4)] for row in range(4)]
    assert plan.nnz == 4 * 1024 * 1025 // 2 + 3 * 1024**2


def test_a_rollout_has_the_gradients_of_its_sequence_alone() -> None:
    enter, leave, segment = laid_out(SEGMENTS)
    tree = attncc.load("rollout_tree", enter=enter, leave=leave)
    x = torch.randn(3, 1, 2, len(segment), 8, dtype=torch.float64, requires_grad=True)
    leaf, grad = 3, torch.randn(1, 2, 3, 8, dtype=torch.float64)
    tokens = np.flatnonzero(np.isin(segment, path(SEGMENTS, leaf)))
    together = attncc.attention(*x, tree)[:, :, segment == leaf]
    alone = attncc.attention(*x[:, :, :, tokens], attncc.load("causal"))[:, :, -3:]
    torch.testing.assert_close(together, alone)
    torch.testing.assert_close(*(torch.autograd.grad(out, x, grad)[0] for out in (together, alone)))


def test_trees_of_drafts_keep_their_first_name() -> None:
    found = [
        attncc.factory(name) for name in ("speculative_tree", "serving:speculative_tree", "basic:speculative_tree")
    ]
    assert found[0] is found[1] is found[2]


def test_prefixes_of_entries_are_those_of_the_basic_pattern() -> None:
    found = attncc.dense_mask(attncc.load("prefix_lm", lengths=[3, 0, 48]), N, batch=3)
    for mask, length in zip(found, (3, 0, 48), strict=True):
        assert torch.equal(mask, attncc.dense_mask(attncc.load("prefix", length=length), N))


def test_sinks_of_documents_are_those_of_each_document_alone() -> None:
    ends = [0, 5, 6, 30, N]
    starts = np.repeat(ends[:-1], np.diff(ends))
    inside = attncc.load("document_sinks", starts=starts, window=4, sinks=2)
    packed = attncc.Documents(ends).pattern(attncc.load("sink_window", window=4, sinks=2))
    assert torch.equal(attncc.dense_mask(inside, N), attncc.dense_mask(packed, N))


def test_starts_of_documents_rise() -> None:
    with pytest.raises(attncc.TableError, match="'starts'"):
        attncc.load("document_sinks", starts=[0, 3, 0])


def test_continuations_share_the_prefix_alone() -> None:
    ids = np.repeat([-1, 0, 1, 2], [12, 9, 20, 7])
    found = attncc.dense_mask(attncc.load("shared_prefix", ids=ids), N).numpy()
    for i, j in np.ndindex(N, N):
        assert found[i, j] == (j <= i and (ids[j] == -1 or ids[j] == ids[i]))


def test_chunks_are_causal_blocks() -> None:
    assert attncc.load("chunked", chunk=10) == attncc.load("block_diagonal", block=10).causal()


@pytest.mark.parametrize("block", [1, 4, 5, 24, 99])
def test_training_of_block_diffusion_is_that_of_each_noisy_block_after_its_clean_past(block: int) -> None:
    """Over [x_t, x_0], a noisy block sees what it sees in sampling: itself, after the clean tokens before it."""
    training = attncc.dense_mask(attncc.load("block_diffusion", block=block), 2 * N).numpy()
    sampling = attncc.dense_mask(attncc.load("block_causal", block=block), N).numpy()
    np.testing.assert_array_equal(training[N:, N:], sampling)
    assert not training[N:, :N].any()
    for first, last in pairwise([*range(0, N, block), N]):
        for i in range(first, last):
            clean, noisy = np.flatnonzero(training[i, N:]), np.flatnonzero(training[i, :N])
            assert clean.tolist() == list(range(first))
            assert noisy.tolist() == list(range(first, last))


@pytest.mark.parametrize("n", [1, 2, 9, 2 * N - 1])
def test_an_odd_length_has_one_clean_position_more(n: int) -> None:
    """The noisy positions see what they would without it, and it sees all clean ones up to its block's end."""
    pattern = attncc.load("block_diffusion", block=5)
    found, whole = (attncc.dense_mask(pattern, length).numpy() for length in (n, n + n % 2))
    half = n // 2
    rows = [*range(half), *range(half + n % 2, n + n % 2)]  # of the even length, whose noisy half has the odd one more
    np.testing.assert_array_equal(found, whole[np.ix_(rows, rows)])


def test_block_diffusion_of_one_token_is_autoregressive() -> None:
    assert attncc.load("block_causal", block=1) == attncc.load("causal")


enter, leave, segment = laid_out(SEGMENTS)
PATTERNS = {
    "rollout_tree": {"enter": np.pad(enter, (0, 15)), "leave": np.pad(leave, (0, 15))},
    "prefix_lm": {"lengths": [5, 20]},
    "shared_prefix": {"ids": np.repeat([-1, 0, 1, 2], 12)},
    "sink_window": {"window": 7, "sinks": 2},
    "document_sinks": {"starts": np.arange(N) // 11 * 11, "window": 4, "sinks": 2},
    "chunked": {"chunk": 9},
    "block_diffusion": {"block": 5},
    "block_causal": {"block": 5},
}


@pytest.mark.parametrize("name", PATTERNS)
def test_a_pattern_conforms(name: str) -> None:
    check_pattern(attncc.load(name, **PATTERNS[name]), lengths=(2, 34, N))
