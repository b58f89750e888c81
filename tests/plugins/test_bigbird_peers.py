"""BigBird against Transformers 5.24: BigBirdBlockSparseAttention of models/big_bird, in train mode and in eval.

Its random blocks are taken from it, and counted as often as it gathers them: in `eval()` all of them are block 0.
"""

from __future__ import annotations

from unittest import mock

import pytest
import torch
from torch import Tensor

import attncc
from attncc.nn.heads import merged_heads, split_heads
from attncc_bigbird.blocks import itc
from attncc_bigbird.repeats import inner, log_repeats, repeated

pytest.importorskip("transformers")
from transformers import BigBirdConfig
from transformers.models.big_bird.modeling_big_bird import BigBirdBlockSparseAttention, BigBirdModel

EMBED, HEADS, RANDOM = 16, 2, 2


@attncc.pattern
def unpadded(b: attncc.Index, i: attncc.Index, j: attncc.Index, *, lengths: attncc.Table) -> attncc.Condition:
    """Tokens that aren't padding see and are seen."""
    return (i < lengths[b]) & (j < lengths[b])


def theirs(module: BigBirdBlockSparseAttention, hidden: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Return what the module returns, and the random blocks that it gathered, (H, blocks - 2, R)."""
    seen = (torch.arange(hidden.shape[1]) < lengths.unsqueeze(1)).to(hidden.dtype)
    blocked, band, from_mask, to_mask = BigBirdModel.create_masks_for_block_sparse_attn(seen, module.block_size)
    gather = module.torch_gather_b2
    with mock.patch.object(module, "torch_gather_b2", side_effect=gather) as gathered:
        out, _ = module(hidden, band, from_mask, to_mask, blocked, blocked)
    return out, gathered.call_args_list[0].args[1][0]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    ("n", "block", "positions", "padding"),
    [(64, 4, 64, 0), (64, 4, 64, 14), (44, 4, 64, 0), (1024, 64, 1024, 0), (1024, 64, 4096, 0)],
)
def test_attention_is_that_of_transformers(training: bool, n: int, block: int, positions: int, padding: int) -> None:
    """The second entry of the batch has padding: theirs adds -10,000 to its keys, and its queries give 0."""
    torch.manual_seed(0)
    config = BigBirdConfig(
        hidden_size=EMBED,
        num_attention_heads=HEADS,
        block_size=block,
        num_random_blocks=RANDOM,
        max_position_embeddings=positions,
    )
    module = BigBirdBlockSparseAttention(config, seed=3).double().train(training)
    hidden, grad = torch.randn(2, 2, n, EMBED, dtype=torch.float64)
    leaf, lengths = hidden.clone().requires_grad_(), torch.tensor([n, n - padding])
    wanted, random = theirs(module, leaf, lengths)
    wanted_gradients = torch.autograd.grad(wanted, [leaf, *module.parameters()], grad)

    drawn = random.numpy()
    pattern = attncc.load("bigbird", **itc(n, block=block, random=inner(drawn)))
    assert attncc.like.bigbird(n, block_size=block, rand_attn=drawn) == pattern
    pattern = pattern & unpadded(lengths=lengths) if padding else pattern
    repeats = log_repeats(n, drawn, block=block)
    assert training or float(repeats.exp().max()) == pytest.approx(1 + RANDOM)
    query, key, value = (split_heads(project(leaf), HEADS) for project in (module.query, module.key, module.value))
    score = repeated(log_repeats=repeats, block=block)
    out = merged_heads(attncc.attention(query, key, value, pattern, score=score))
    torch.testing.assert_close(out, wanted, rtol=1e-10, atol=1e-10)
    gradients = torch.autograd.grad(out, [leaf, *module.parameters()], grad)
    for ours, theirs_ in zip(gradients, wanted_gradients, strict=True):
        torch.testing.assert_close(ours, theirs_, rtol=1e-9, atol=1e-9)


def test_random_blocks_of_train_mode_count_once_where_none_is_global() -> None:
    config = BigBirdConfig(block_size=4, num_random_blocks=RANDOM, num_attention_heads=HEADS, hidden_size=EMBED)
    module = BigBirdBlockSparseAttention(config, seed=3).train()
    _, random = theirs(module, torch.randn(1, 64, EMBED), torch.tensor([64]))
    assert log_repeats(64, random.numpy(), block=4).max() == 0
