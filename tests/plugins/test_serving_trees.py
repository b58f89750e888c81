"""speculative_tree: draft tokens see the prefix and their ancestors, in trees that differ from sequence to sequence."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import attncc
from attncc.testing.check import check_attention, check_plan
from attncc.testing.oracle import Problem


def walked(parents: list[int]) -> tuple[list[int], list[int]]:
    """Return when each token is entered in a walk from the roots, and the number after those of its descendants."""
    enter, leave, number = [0] * len(parents), [0] * len(parents), 0

    def walk(token: int) -> None:
        nonlocal number
        enter[token], number = number, number + 1
        for child in (child for child, parent in enumerate(parents) if parent == token):
            walk(child)
        leave[token] = number

    for root in (token for token, parent in enumerate(parents) if parent < 0):
        walk(root)
    return enter, leave


def seen(parents: list[int], kv_len: int) -> np.ndarray:
    """Return the mask of a tree after a prefix, bool (tokens, kv_len)."""
    first = kv_len - len(parents)
    mask = np.zeros((len(parents), kv_len), bool)
    mask[:, :first] = True
    for token in range(len(parents)):
        ancestor = token
        while ancestor >= 0:
            mask[token, first + ancestor] = True
            ancestor = parents[ancestor]
    return mask


@st.composite
def trees(draw: st.DrawFn) -> list[list[int]]:
    """Draw the parents of the tokens of one to three trees of equal size, in any order that has parents first."""
    size = draw(st.integers(1, 9))
    return draw(
        st.lists(st.tuples(*(st.integers(-1, token - 1) for token in range(size))).map(list), min_size=1, max_size=3)
    )


@given(trees(), st.integers(0, 40))
def test_draft_tokens_see_the_prefix_and_their_ancestors(drawn: list[list[int]], prefix: int) -> None:
    parents = drawn[0]
    enter, leave = walked(parents)
    tree, kv_len = attncc.load("speculative_tree", enter=enter, leave=leave), prefix + len(parents)
    mask = seen(parents, kv_len)
    np.testing.assert_array_equal(attncc.dense_mask(tree, len(parents), kv_len, q_offset=prefix).numpy(), mask)
    check_plan(attncc.plan(tree, len(parents), kv_len, q_offset=prefix, tile=(16, 16)), mask)


@settings(max_examples=40)
@given(trees(), st.data())
def test_trees_and_prefixes_may_differ_from_sequence_to_sequence(drawn: list[list[int]], data: st.DataObject) -> None:
    check_trees(drawn, data, torch.float64, None)


@settings(max_examples=4)
@given(trees(), st.data())
def test_kernels_on_trees_agree_with_the_oracle(drawn: list[list[int]], data: st.DataObject) -> None:
    check_trees(drawn, data, torch.float32, "triton")


def check_trees(drawn: list[list[int]], data: st.DataObject, dtype: torch.dtype, backend: str | None) -> None:
    size, batch = len(drawn[0]), len(drawn)
    prefixes = data.draw(st.lists(st.integers(0, 40), min_size=batch, max_size=batch))
    enter, leave = (np.array(x) for x in zip(*map(walked, drawn), strict=True))
    tree = attncc.load("speculative_tree", enter=enter, leave=leave)
    lengths, longest = [n + size for n in prefixes], max(prefixes) + size
    mask = np.zeros((batch, 1, size, longest), bool)
    for entry, (parents, n) in enumerate(zip(drawn, lengths, strict=True)):
        mask[entry, 0, :, :n] = seen(parents, n)
    problem = Problem.drawn(size, longest, batch=batch, heads=2, kv_heads=1, dtype=dtype)
    pattern = attncc.Sequences(prefixes, lengths).pattern(tree)
    check_attention(pattern, torch.tensor(mask), problem, backend=backend)


def test_a_long_prefix_is_computed_without_a_mask() -> None:
    enter, leave = walked([-1, 0, 0, 1, 1, 2])
    tree = attncc.load("speculative_tree", enter=enter, leave=leave)
    [group] = attncc.plan(tree, 6, 8192, q_offset=8186).groups
    prefix, drafts = group.passes
    assert prefix.residual is None
    assert drafts.tiles.num_partial == 1
    assert drafts.tiles.num_full == 0


def test_tables_are_those_of_the_draft_tokens() -> None:
    tree = attncc.load("speculative_tree", enter=[0, 1], leave=[2, 2])
    with pytest.raises(attncc.TableError, match="'enter' has 2 entries"):
        attncc.plan(tree, 3, 10, q_offset=7)
