"""Longformer on a CPU: against the attention of Transformers' module, and a dilated window against FlexAttention."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from peers.modules import without_projections
from test_attention import CPU, in_turns, spread, tensors
from torch.nn.attention.flex_attention import BlockMask, flex_attention

import attncc
from attncc.measure.timing import elapsed
from attncc.nn.heads import merged_heads, split_heads
from attncc_longformer.roles import token_roles

LENGTH, HEADS, WINDOW = 4096, 12, 512


def test_attention_is_faster_than_transformers(benchmark, bar) -> None:
    """Longformer-base: 12 heads of 64, a window of 512, one global token; from projected tensors to the output."""
    pytest.importorskip("transformers")
    from transformers import LongformerConfig
    from transformers.models.longformer.modeling_longformer import LongformerSelfAttention

    hidden, *projected = torch.randn(7, 1, LENGTH, 64 * HEADS, generator=torch.Generator().manual_seed(0))
    roles = torch.from_numpy(token_roles(LENGTH, [[0]]))
    config = LongformerConfig(attention_window=[WINDOW], attention_probs_dropout_prob=0.0)
    names = "query", "key", "value", "key_global", "value_global"
    flipped = {name: x.transpose(0, 1) for name, x in zip(names, projected, strict=False)}
    module = without_projections(
        LongformerSelfAttention(config, 0), flipped | {"query_global": projected[5][:, :1].transpose(0, 1)}
    )
    mask = (roles - 1) * 10000.0
    flags = {"is_index_masked": mask < 0, "is_index_global_attn": mask > 0, "is_global_attn": True}
    near = [split_heads(x.clone(), HEADS) for x in projected[:3]]
    far = [split_heads(x.clone(), HEADS) for x in (projected[5], *projected[3:5])]
    near_keys, all_keys = (attncc.load("longformer", roles=roles, window=WINDOW).layers(n) for n in range(2))

    divided = module.query.result.clone(), module.query_global.result.clone()

    def ours() -> torch.Tensor:
        out, of_global = attncc.attention(*near, near_keys), attncc.attention(*far, all_keys)
        return merged_heads(torch.where((roles == 2)[:, None, :, None], of_global, out))

    def theirs() -> torch.Tensor:
        for given, x in zip((module.query, module.query_global), divided, strict=True):
            given.result.copy_(x)  # which it divides in place
        return module(hidden, mask, **flags)[0]

    with torch.no_grad():
        torch.testing.assert_close(ours(), theirs(), rtol=1e-3, atol=1e-4)
        mine, other = in_turns(benchmark, lambda: elapsed(ours, CPU), lambda: elapsed(theirs, CPU), rounds=7)
    what = "longformer forward, N = 4,096, window 512, against Transformers' module, projections apart"
    bar(what, other.median / mine.median, "at least 6 x", spread(mine, other))


def test_a_dilated_window_is_faster_than_flex_attention(benchmark, bar) -> None:
    """Each block of 128 keys within reach has some of a query's keys, so that FlexAttention computes all of them."""
    length, window, dilation, block = 32768, 256, 64, 128
    inputs = tensors(length, heads=1)
    inside = partial(_inside, reach=window * dilation, dilation=dilation)
    rows = np.arange(length // block)
    first = np.maximum(0, (rows * block - window * dilation + 1) // block)
    counts = torch.from_numpy(rows - first + 1).int()
    keys = np.minimum(first[:, None] + rows, rows[:, None])
    mask = BlockMask.from_kv_blocks(counts[None, None], torch.from_numpy(keys).int()[None, None], mask_mod=inside)
    compiled = torch.compile(flex_attention)
    run = partial(attncc.attention, pattern=attncc.load("dilated_window", window=window, dilation=dilation))
    flex = partial(compiled, block_mask=mask)
    with torch.no_grad():
        torch.testing.assert_close(run(*inputs), flex(*inputs), rtol=1e-3, atol=1e-4)
        mine, other = in_turns(
            benchmark, lambda: elapsed(lambda: run(*inputs), CPU), lambda: elapsed(lambda: flex(*inputs), CPU), rounds=3
        )
    what = "dilated window, 256 keys 64 apart, N = 32,768, against compiled FlexAttention"
    bar(what, other.median / mine.median, "at least 15 x", spread(mine, other))


def _inside(
    b: torch.Tensor, h: torch.Tensor, q: torch.Tensor, k: torch.Tensor, *, reach: int, dilation: int
) -> torch.Tensor:
    return (k <= q) & (q - k < reach) & ((q - k) % dilation == 0)
