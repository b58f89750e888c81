"""Selected blocks on a CPU: mixture of block attention and native sparse attention, lists made anew at each step."""

from __future__ import annotations

import pytest
import torch
from test_attention import dense, forward, forward_backward, spread, tensors
from torch import Tensor

import attncc
from attncc.measure.timing import Timing
from attncc_selected.choosing import block_means, moba_blocks, nsa_blocks
from attncc_selected.native import native_sparse_attention
from attncc_selected.routed import routed_attention

BLOCK, TOP, HEADS = 64, 16, 4


def moba(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    blocks = moba_blocks(query, key, TOP, block=BLOCK, queries=BLOCK)
    out: Tensor = attncc.attention(query, key, value, attncc.load("moba", blocks=blocks, block=BLOCK, queries=BLOCK))
    return out


def routed(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Mixture of block attention with a list for each query, as the paper has it."""
    return routed_attention(query, key, value, moba_blocks(query, key, TOP, block=BLOCK), block=BLOCK)


def native(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """All three branches, with means of blocks of 64 as compressed keys and values."""
    compressed = block_means(key, BLOCK), block_means(value, BLOCK)
    settings = {"block": BLOCK, "compression": (BLOCK, BLOCK), "queries": BLOCK}
    blocks = nsa_blocks(query, compressed[0], TOP, **settings)
    gates = torch.ones(*query.shape[:3], 3)
    return native_sparse_attention(query, key, value, compressed, gates, blocks, **settings)


@pytest.mark.parametrize(
    ("run", "length", "least"),
    [
        (moba, 8192, (1.3, 1.6)),
        (moba, 16384, (2.8, 4)),
        (native, 8192, (1, 1.1)),
        (native, 16384, (1.2, 2)),
        (routed, 16384, (0.8, 1.1)),
    ],
    ids=["moba-8192", "moba-16384", "native-8192", "native-16384", "routed-16384"],
)
def test_selected_blocks_compare_with_dense_attention(benchmark, bar, run, length: int, least) -> None:
    """Keys and queries change at each step, so that choosing, planning and lowering are a part of it."""
    name = {"moba": "MoBA", "native": "native sparse attention", "routed": "MoBA by queries"}[run.__name__]
    for what, measured, limit in zip(
        ("forward", "forward and backward"), (forward, forward_backward), least, strict=True
    ):
        samples = []
        for step in range(4):
            inputs = [x + 0.1 * step * torch.randn(x.shape) for x in tensors(length, HEADS)]
            samples.append([contestant() for contestant in (measured(run, inputs), measured(dense, inputs))])
        ours, theirs = (Timing(tuple(times)) for times in zip(*samples[1:], strict=True))
        ratio = theirs.median / ours.median
        title = f"{name}, 16 blocks of 64, new lists at each step, {what}, N = {length:,}, against dense causal"
        bar(title, ratio, f"at least {limit} x", spread(ours, theirs))
    benchmark.pedantic(lambda: None, rounds=1)
