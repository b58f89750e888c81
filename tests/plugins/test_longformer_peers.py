"""Longformer against Transformers 5.24: LongformerSelfAttention and LongformerModel of models/longformer."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import attncc
from attncc_longformer.roles import token_roles

pytest.importorskip("transformers")
from transformers import LongformerConfig
from transformers.models.longformer.modeling_longformer import LongformerModel, LongformerSelfAttention

N, EMBED, HEADS, WINDOW = 48, 32, 4, 8


def peer() -> LongformerSelfAttention:
    config = LongformerConfig(
        hidden_size=EMBED, num_attention_heads=HEADS, attention_window=[WINDOW], attention_probs_dropout_prob=0.0
    )
    return LongformerSelfAttention(config, 0)


def theirs(module: LongformerSelfAttention, hidden: Tensor, roles: Tensor) -> Tensor:
    """Return what the module returns; their model writes padding as -10000, and global tokens as 10000."""
    mask = (roles - 1) * 10000.0
    (out,) = module(
        hidden,
        mask,
        is_index_masked=mask < 0,
        is_index_global_attn=mask > 0,
        is_global_attn=bool((mask > 0).any()),
    )
    return out


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    ("global_tokens", "lengths"),
    [([[0], [0]], [N, N]), ([[0, 7, 46], [3]], [N, 31]), ([[], [5]], [40, N]), ([[], []], [N, 17])],
)
def test_the_layer_is_transformers_layer(training: bool, global_tokens: list[list[int]], lengths: list[int]) -> None:
    torch.manual_seed(0)
    module = peer().train(training)
    layer = attncc.nn.LongformerAttention(EMBED, HEADS, window=WINDOW).train(training)
    layer.load_state_dict(module.state_dict())
    roles = torch.from_numpy(token_roles(N, global_tokens, lengths))
    hidden, grad = torch.randn(2, 2, N, EMBED)
    found = []
    for run, owner in ((lambda x: layer(x, roles), layer), (lambda x: theirs(module, x, roles), module)):
        leaf = hidden.clone().requires_grad_()
        out = run(leaf)
        gradients = torch.autograd.grad(out, [leaf, *owner.parameters()], grad, allow_unused=True)
        found.append([out, *(torch.zeros(()) if x is None else x for x in gradients)])
    for ours, wanted in zip(*found, strict=True):
        torch.testing.assert_close(ours, wanted.expand_as(ours), rtol=1e-5, atol=1e-5)


def test_roles_are_what_their_model_makes_of_its_masks() -> None:
    attention_mask = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]])
    global_attention_mask = torch.tensor([[1, 0, 0, 0], [0, 1, 1, 0]])
    merged = LongformerModel._merge_to_attention_mask(None, attention_mask, global_attention_mask)
    assert merged.tolist() == token_roles(4, [[0], [1, 2]], [3, 4]).tolist()
