"""The shipped scores, compared with the formulas of their papers."""

from __future__ import annotations

import math

import pytest
import torch

import attncc
from attncc.backends.reference.mask import as_broadcast
from attncc.testing import check_attention
from attncc.testing.oracle import Problem

GAP = torch.arange(70).view(-1, 1) - torch.arange(70)


def check(score: attncc.Score, formula, name: str = "causal", **sizes) -> None:
    problem = Problem.drawn(70, 70, heads=4, kv_heads=2, batch=2, **sizes).with_weights(score.tensors)
    pattern = attncc.load(name)
    mask = as_broadcast(attncc.dense_mask(pattern, 70), pattern)
    check_attention(pattern, mask, problem, score=score, formula=formula)


@pytest.mark.parametrize(
    ("heads", "wanted"),
    [
        (1, [2**-8]),
        (8, [2**-k for k in range(1, 9)]),
        (4, [2**-2, 2**-4, 2**-6, 2**-8]),
        (6, [2**-2, 2**-4, 2**-6, 2**-8, 2**-1, 2**-3]),
        (12, [2**-k for k in range(1, 9)] + [2**-0.5, 2**-1.5, 2**-2.5, 2**-3.5]),
    ],
)
def test_alibi_slopes_agree_with_the_paper(heads: int, wanted: list[float]) -> None:
    torch.testing.assert_close(attncc.alibi_slopes(heads), torch.tensor(wanted))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_alibi_agrees_with_its_formula(dtype: torch.dtype) -> None:
    score = attncc.alibi(slopes=attncc.alibi_slopes(4))
    check(score, lambda s, w: s - w[0].view(-1, 1, 1) * GAP.abs(), dtype=dtype)
    check(score, lambda s, w: s - w[0].view(-1, 1, 1) * GAP.abs(), "full", dtype=dtype)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_t5_bias_agrees_with_its_formula(bidirectional: bool) -> None:
    buckets = _t5_bucket(-GAP, bidirectional=bidirectional, num_buckets=16, max_distance=40)
    score = attncc.t5_bias(weights=torch.randn(4, 16), bidirectional=bidirectional, max_distance=40)
    check(score, lambda s, w: s + w[0][:, buckets], "full")


def test_softcap_agrees_with_its_formula() -> None:
    check(attncc.softcap(cap=2.0), lambda s, w: 2 * torch.tanh(s / 2))


def test_chained_scores_apply_in_order() -> None:
    score = attncc.alibi(slopes=torch.rand(4)).then(attncc.softcap(cap=1.5)).then(attncc.alibi(slopes=torch.rand(4)))

    def formula(s, w):
        slopes = [x.view(-1, 1, 1) for x in w]
        return 1.5 * torch.tanh((s - slopes[0] * GAP.abs()) / 1.5) - slopes[1] * GAP.abs()

    check(score, formula)
    assert list(score.weights) == ["slopes", "slopes_1"]


@attncc.score
def warmed(score, *, temperature: attncc.Weights, floor: attncc.Weights):
    return attncc.maximum(score * temperature, -floor[()]) + temperature / 2


@pytest.mark.parametrize("name", ["causal", "full"])
def test_weights_without_dimensions_are_numbers(name: str) -> None:
    score = warmed(temperature=torch.tensor(0.7), floor=torch.tensor(0.9))
    check(score, lambda s, w: torch.maximum(s * w[0], -w[1]) + w[0] / 2, name)
    assert str(score.expression).count("temperature") == 2


def test_weights_with_dimensions_need_an_index() -> None:
    with pytest.raises(attncc.ScoreError, match="one index a dimension"):
        warmed(temperature=torch.rand(2), floor=torch.rand(()))


def test_caps_must_be_positive() -> None:
    with pytest.raises(attncc.ParameterError, match="at least"):
        attncc.softcap(cap=0.0)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(("buckets", "most"), [(32, 128), (16, 40), (7, 20), (2, 2)])
def test_t5_buckets_agree_with_the_formula(bidirectional: bool, buckets: int, most: int) -> None:
    if bidirectional and buckets < 4:
        return
    found = attncc.t5_buckets(buckets, most, bidirectional=bidirectional)
    gaps = torch.arange(-most, most + 1)
    wanted = _t5_bucket(gaps, bidirectional=bidirectional, num_buckets=buckets, max_distance=most)
    assert found == wanted.tolist()


def _t5_bucket(gap: torch.Tensor, *, bidirectional: bool, num_buckets: int, max_distance: int) -> torch.Tensor:
    """Raffel et al. (2020), written for tensors of key position minus query position."""
    side = num_buckets // 2 if bidirectional else num_buckets
    after = (gap > 0) * side if bidirectional else torch.zeros_like(gap)
    distance = gap.abs() if bidirectional else (-gap).clamp(min=0)
    exact = side // 2
    share = torch.log(distance.clamp(min=1).double() / exact) / math.log(max_distance / exact)
    grown = (exact + (share * (side - exact)).long()).clamp(max=side - 1)
    return after + torch.where(distance < exact, distance, grown)
