"""BigBird on a CPU: against the attention of Transformers' module in train mode, and its plan at a million tokens."""

from __future__ import annotations

from unittest import mock

import pytest
import torch
from peers.modules import without_projections
from test_attention import CPU, in_turns, spread
from test_planning import MILLION, measured

import attncc
from attncc.measure.timing import elapsed
from attncc.nn.heads import merged_heads, split_heads
from attncc_bigbird.blocks import itc
from attncc_bigbird.repeats import inner

LENGTH, HEADS = 4096, 12


def test_attention_is_faster_than_transformers(benchmark, bar) -> None:
    """BigBird-base: 12 heads of 64, blocks of 64, 3 random ones a head; from projected tensors to the output.

    Theirs draws its random blocks at each call, and fills the matrix of all pairs, which it returns.
    """
    pytest.importorskip("transformers")
    from transformers import BigBirdConfig
    from transformers.models.big_bird.modeling_big_bird import BigBirdBlockSparseAttention, BigBirdModel

    hidden, *projected = torch.randn(4, 1, LENGTH, 64 * HEADS, generator=torch.Generator().manual_seed(0))
    plain = BigBirdBlockSparseAttention(BigBirdConfig(), seed=0).train()
    module = without_projections(plain, dict(zip(("query", "key", "value"), projected, strict=True)))
    blocked, band, from_mask, to_mask = BigBirdModel.create_masks_for_block_sparse_attn(torch.ones(1, LENGTH), 64)

    def theirs() -> torch.Tensor:
        return module(hidden, band, from_mask, to_mask, blocked, blocked)[0]

    with mock.patch.object(module, "torch_gather_b2", side_effect=module.torch_gather_b2) as gathered:
        theirs()
    pattern = attncc.load("bigbird", **itc(LENGTH, random=inner(gathered.call_args_list[0].args[1][0].numpy())))
    inputs = [split_heads(x, HEADS) for x in projected]

    def ours() -> torch.Tensor:
        return merged_heads(attncc.attention(*inputs, pattern))

    with torch.no_grad():
        torch.testing.assert_close(ours(), theirs(), rtol=1e-3, atol=1e-4)
        mine, other = in_turns(benchmark, lambda: elapsed(ours, CPU), lambda: elapsed(theirs, CPU), rounds=7)
    what = "bigbird forward in train mode, N = 4,096, against Transformers' module, projections apart"
    bar(what, other.median / mine.median, "at least 5 x", spread(mine, other))


def test_a_million_tokens_are_planned_in_milliseconds(benchmark, bar) -> None:
    taken = measured(benchmark, "bigbird", MILLION)["all_s"]
    what = "plan bigbird, blocks of 64, 3 of them random, N = 1,048,576, cold"
    bar(what, 1e3 * taken.median, "at most 300 ms", f"{taken.spread:.0%}")
