"""The length of a picture: what a pattern's numbers, its grid or its tables ask for."""

from __future__ import annotations

from typing import Any

import pytest

import attncc
from attncc.ir.condition import predicate_of
from attncc.planner.shape import Shape
from attncc.visualization.lengths import shown_length, shown_shape

LENGTHS = {
    attncc.load("causal"): 64,
    attncc.load("sliding_window", window=256): 1024,
    attncc.load("strided", l=8): 64,
    attncc.load("chunked", chunk=1000): 4096,
    attncc.load("neighborhood_2d", height=12, width=20, kernel_h=3, kernel_w=3): 240,
    attncc.load("document", ids=[0] * 50 + [1] * 50): 100,
    attncc.load("prefix_lm", lengths=[3, 5]).causal(): 64,
}


@pytest.mark.parametrize("pattern", LENGTHS, ids=repr)
def test_lengths_show_structure(pattern: attncc.Pattern) -> None:
    assert shown_length(pattern) == LENGTHS[pattern]
    assert shown_shape(pattern) == Shape.of(LENGTHS[pattern])


@pytest.mark.parametrize(
    ("name", "given", "shape"),
    [
        ("pooled", {}, Shape(64, 4)),
        ("pooled", {"ratio": 1}, Shape(64, 64)),
        ("compressed_blocks", {}, Shape(128, 7)),
        ("compressed_memory", {}, Shape(2048, 384)),
        ("block_diffusion", {}, Shape(64, 64)),
        ("speculative_tree", {"enter": [0, 1, 2], "leave": [3, 2, 3]}, Shape(3, 6, q_offset=3)),
    ],
)
def test_keys_end_where_those_end_that_queries_see(name: str, given: dict[str, Any], shape: Shape) -> None:
    pattern = attncc.load(name, **given)
    assert shown_shape(pattern) == shape
    assert shown_shape(pattern, shape.q_len, 99).kv_len == 99


def test_patterns_that_no_query_sees_keys_of_are_drawn_whole() -> None:
    nothing = attncc.Pattern([predicate_of(False)], "nothing")
    assert shown_shape(nothing) == Shape.of(64)
