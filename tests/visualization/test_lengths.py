"""The length of a picture: what a pattern's numbers, its grid or its tables ask for."""

from __future__ import annotations

import pytest

import attncc
from attncc.visualization.lengths import shown_length

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
