"""transformer_xl against XLNet's relative attention, which took Transformer-XL's, and x-transformers' memories.

Transformers 5.24, models/xlnet/modeling_xlnet.py (`rel_attn_core`, `rel_shift_bnij`), since its own Transformer-XL is
gone; x-transformers 2.31, x_transformers.py (`Attention.forward(mem=)`). local-attention has neither.
"""

from __future__ import annotations

import pytest
import torch

import attncc
from attncc.nn.functional.relative import RelativePosition, relative_attention
from attncc_transformer_xl.recurrence import step

HEADS, SIZE, MEMORY, N = 2, 8, 5, 7


def test_scores_are_those_of_xlnet() -> None:
    xlnet = pytest.importorskip("transformers.models.xlnet.modeling_xlnet")
    config = pytest.importorskip("transformers").XLNetConfig(d_model=HEADS * SIZE, n_head=HEADS, dropout=0.0)
    theirs = xlnet.XLNetRelativeAttention(config).double()
    torch.manual_seed(0)
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter)
    total = MEMORY + N
    query = torch.randn(2, HEADS, N, SIZE, dtype=torch.float64)
    key, value = torch.randn(2, 2, HEADS, total, SIZE, dtype=torch.float64).unbind()
    distances = torch.randn(HEADS, total, SIZE, dtype=torch.float64)
    seen = attncc.dense_mask(attncc.load("causal"), N, total, q_offset=MEMORY)
    # Theirs has an entry for each distance from `total` down to 1 - N; those that causal attention sees are ours.
    gaps = torch.arange(total, -N, -1)
    by_distance = distances[:, gaps.clamp(0, total - 1)].permute(1, 0, 2).unsqueeze(1).expand(-1, 2, -1, -1)
    by_position = [x.permute(2, 0, 1, 3) for x in (query, key, value)]
    mask = (~seen).double()[:, :, None, None]
    wanted = theirs.rel_attn_core(*by_position, by_distance, attn_mask=mask)
    relative = RelativePosition(theirs.r_w_bias, theirs.r_r_bias, distances)
    ours = relative_attention(query, key, value, attncc.load("causal"), relative)
    torch.testing.assert_close(ours.permute(2, 0, 1, 3), wanted)
    for parameter in (theirs.r_w_bias, theirs.r_r_bias):
        mine, other = (torch.autograd.grad(x.sin().sum(), parameter, retain_graph=True)[0] for x in (ours, wanted))
        torch.testing.assert_close(mine, other)


def test_a_segment_sees_its_memory_as_in_x_transformers() -> None:
    x_transformers = pytest.importorskip("x_transformers.x_transformers")
    theirs = x_transformers.Attention(dim=HEADS * SIZE, heads=HEADS, dim_head=SIZE, causal=True).double()
    hidden = torch.randn(2, MEMORY + N, HEADS * SIZE, dtype=torch.float64)
    wanted = theirs(hidden[:, MEMORY:], mem=hidden[:, :MEMORY])
    wanted = wanted[0] if isinstance(wanted, tuple) else wanted
    query, key, value = (
        project(hidden).unflatten(-1, (HEADS, SIZE)).transpose(1, 2)
        for project in (theirs.to_q, theirs.to_k, theirs.to_v)
    )
    zeros = torch.zeros(HEADS, SIZE, dtype=torch.float64)
    relative = RelativePosition(zeros, zeros, torch.zeros(HEADS, MEMORY + N, SIZE, dtype=torch.float64))
    causal = attncc.load("causal")
    _, memory = step(*(x[:, :, :MEMORY] for x in (query, key, value)), None, relative, size=MEMORY, pattern=causal)
    out, _ = step(*(x[:, :, MEMORY:] for x in (query, key, value)), memory, relative, size=MEMORY, pattern=causal)
    torch.testing.assert_close(theirs.to_out(out.transpose(1, 2).flatten(2)), wanted)
