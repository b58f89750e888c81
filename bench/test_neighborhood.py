"""Neighbourhoods of images and videos on a CPU, compared with dense attention."""

from __future__ import annotations

from functools import partial

import pytest
from test_attention import forward, in_turns, spread, tensors
from torch.nn.functional import scaled_dot_product_attention

import attncc
from attncc_neighborhood import neighborhood_2d, neighborhood_3d

CASES = {
    "13 x 13 on 64 x 64": (neighborhood_2d(), 64**2, 7),
    "13 x 13 on 128 x 128": (neighborhood_2d(height=128, width=128), 128**2, 16),
    "5 x 5 x 5 on 16 x 16 x 16": (neighborhood_3d(), 16**3, 5),
    "16 x 16 on 64 x 64, stride 8": (neighborhood_2d(kernel_h=16, kernel_w=16, stride_h=8, stride_w=8), 64**2, 8),
}


@pytest.mark.parametrize("name", CASES)
def test_a_neighborhood_is_faster_than_dense_attention(benchmark, bar, name: str) -> None:
    pattern, length, least = CASES[name]
    inputs = tensors(length)
    contestants = (
        forward(run, inputs) for run in (partial(attncc.attention, pattern=pattern), scaled_dot_product_attention)
    )
    ours, theirs = in_turns(benchmark, *contestants, rounds=9 if length < 10_000 else 3)
    what = f"neighbourhood {name}, forward, against dense"
    bar(what, theirs.median / ours.median, f"at least {least} x", spread(ours, theirs))
