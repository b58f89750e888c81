"""Scores in the generated kernels, beside the reference: biases, caps, weights and their gradients."""

from __future__ import annotations

import math

import pytest
import torch

import attncc

KERNELS = ("forward", "query_gradient", "key_gradient")
SMALL = {f"{kernel}.block_{axis}": 16 for kernel in KERNELS for axis in ("m", "n")}
SPLIT = {f"{kernel}.item_tiles": 2 for kernel in KERNELS}
CONFIGS = {"default": {}, "small": SMALL, "split": {**SMALL, **SPLIT}, "atomic": {**SMALL, "atomic": True}}
HEADS, LENGTH = 4, 49


@attncc.score
def rooted(score, h, i, j, *, weights: attncc.Weights):
    """NaN for every key after the query."""
    return score * attncc.sqrt(i - j + 1) * weights[h] + weights[h] * attncc.sqrt(i - j)


@attncc.score
def everything(score, h, b, i, j, n_q, n_k, *, weights: attncc.Weights, buckets: attncc.Table):
    near = attncc.where(h == 0, score * weights[j % 4], attncc.maximum(score, weights[buckets[abs(i - j)]]))
    return attncc.where((i + j) % 3 == 0, -math.inf, near + attncc.exp(-abs(i - j) / n_k) + b * 0.1 / n_q)


@attncc.score
def constant(i):
    return i * 0.5


def made(name: str) -> attncc.Score:
    generator = torch.Generator().manual_seed(0)
    learned = torch.randn(HEADS, 8, generator=generator).requires_grad_()
    masking = torch.tensor([0.5, -math.inf, 1.0, 0.0], requires_grad=True)
    match name:
        case "alibi":
            return attncc.alibi(slopes=learned[:, 0].detach().requires_grad_())
        case "softcap":
            return attncc.softcap(cap=2.0)
        case "softcap of alibi":
            return attncc.alibi(slopes=learned[:, 0].detach().requires_grad_()).then(attncc.softcap(cap=2.0))
        case "rooted":
            return rooted(weights=learned[:, 1].detach().requires_grad_())
        case "everything":
            return everything(weights=learned[0, :4].detach().requires_grad_(), buckets=torch.arange(LENGTH) % 4)
        case "-inf weights":
            return masked_by(weights=masking)
    return constant()


@attncc.score
def masked_by(j, *, weights: attncc.Weights):
    return weights[j % 4]


NAMES = ("alibi", "softcap", "softcap of alibi", "rooted", "everything", "-inf weights", "constant")


def results(score: attncc.Score, backend: str, config) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    shapes = [(2, HEADS, LENGTH, 16), (2, HEADS // 2, LENGTH, 16), (2, HEADS // 2, LENGTH, 16)]
    leaves = [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]
    pattern = attncc.load("strided", l=8)
    out, lse = attncc.attention(
        *leaves, pattern, score=score, enable_gqa=True, return_lse=True, backend=backend, config=config
    )
    loss = out.square().sum() + lse[lse.detach() > -math.inf].sin().sum()
    return [out.detach(), lse.detach(), *torch.autograd.grad(loss, [*leaves, *score.tensors])]


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("name", NAMES)
def test_scores_and_all_gradients(name: str, config: str) -> None:
    score = made(name)
    for found, wanted in zip(results(score, "triton", CONFIGS[config]), results(score, "reference", None), strict=True):
        torch.testing.assert_close(found, wanted, atol=2e-4, rtol=2e-4)


def test_keys_beyond_the_axis_add_nothing_to_query_gradients() -> None:
    """exp(0 - lse) overflows for keys that don't exist, where all scores are very negative."""
    key = torch.full((1, 1, 20, 16), 10.0)
    leaves = [x.requires_grad_() for x in (-key.clone(), key, torch.randn(1, 1, 20, 16))]
    out = attncc.attention(*leaves, attncc.load("full"), scale=1.0, backend="triton", config=CONFIGS["atomic"])
    assert all(x.isfinite().all() for x in torch.autograd.grad(out.sum(), leaves))
