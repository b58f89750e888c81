"""LongformerAttention: dense attention in float64 decides, gradients of all projections included; graphs; errors."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import attncc
from attncc.backends.reference.mask import as_broadcast
from attncc.nn import LongformerAttention
from attncc.nn.heads import merged_heads, split_heads

N, EMBED, HEADS = 40, 24, 3
ROLES = torch.tensor([[2] + [1] * 39, [1] * 20 + [2] * 2 + [1] * 10 + [0] * 8])


def densely(layer: LongformerAttention, hidden: Tensor, roles: Tensor) -> Tensor:
    """Return what the layer is by definition: each query under the projections of its role."""
    near = [split_heads(project(hidden), HEADS) for project in (layer.query, layer.key, layer.value)]
    far = [
        split_heads(project(hidden), HEADS) for project in (layer.query_global, layer.key_global, layer.value_global)
    ]
    heads = [
        attncc.load("longformer", roles=roles, window=layer.window, dilation=dilation) for dilation in layer.dilations
    ]
    pattern = attncc.per_head([p.causal() for p in heads] if layer.causal else heads)
    mask = as_broadcast(attncc.dense_mask(pattern, N, heads=HEADS, batch=2), pattern)
    mask = mask | ~mask.any(-1, keepdim=True)  # padding, whose rows are 0 below
    outs = []
    for query, key, value in (near, far):
        scores = (query @ key.mT / query.shape[-1] ** 0.5).masked_fill(~mask, -torch.inf)
        outs.append(torch.softmax(scores, -1) @ value)
    picked = torch.where((roles == 2)[:, None, :, None], outs[1], outs[0])
    return merged_heads(torch.where((roles == 0)[:, None, :, None], 0.0, picked))


@pytest.mark.parametrize("options", [{}, {"dilations": (1, 2, 3)}, {"causal": True, "bias": False}])
def test_the_layer_is_dense_attention_under_two_sets_of_projections(options: dict[str, object]) -> None:
    torch.manual_seed(0)
    layer = LongformerAttention(EMBED, HEADS, window=6, **options).double()
    hidden, grad = torch.randn(2, 2, N, EMBED, dtype=torch.float64)
    found = []
    for run in (layer, lambda x, roles: densely(layer, x, roles)):
        leaf = hidden.clone().requires_grad_()
        out = run(leaf, ROLES)
        found.append([out, *torch.autograd.grad(out, [leaf, *layer.parameters()], grad)])
    for ours, wanted in zip(*found, strict=True):
        torch.testing.assert_close(ours, wanted, rtol=1e-10, atol=1e-10)


def test_without_a_mask_all_tokens_are_local() -> None:
    layer, hidden = LongformerAttention(EMBED, HEADS, window=6), torch.randn(2, N, EMBED)
    torch.testing.assert_close(layer(hidden), layer(hidden, torch.ones(2, N, dtype=torch.int64)))


def test_one_graph_serves_masks_that_change() -> None:
    torch.manual_seed(0)
    layer, hidden = LongformerAttention(EMBED, HEADS, window=6, dilations=(1, 2), causal=True), torch.randn(2, N, EMBED)
    torch.compiler.reset()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(hidden, ROLES), layer(hidden, ROLES))
    with torch.compiler.set_stance("fail_on_recompile"):
        torch.testing.assert_close(compiled(hidden, ROLES.flip(0)), layer(hidden, ROLES.flip(0)))


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: LongformerAttention(24, 5), "num_heads=5"),
        (lambda: LongformerAttention(24, 0), "num_heads=0"),
        (lambda: LongformerAttention(24, 3, window=7), "window=7"),
        (lambda: LongformerAttention(24, 3, dilations=()), "dilations"),
        (lambda: LongformerAttention(24, 3, dilations=(0,)), "dilation"),
        (lambda: LongformerAttention(24, 3)(torch.randn(2, 9, 24), ROLES), "attention_mask"),
        (lambda: LongformerAttention(24, 3)(torch.randn(2, N, 24), ROLES + 1), "'roles' has 3"),
    ],
)
def test_errors_name_the_argument(make, named: str) -> None:
    with pytest.raises(attncc.AttnccError, match=named):
        make()
