"""low_rank: projected, pooled and kernelised keys against dense formulas in float64.

x-transformers, local-attention and Transformers have none of these; the formulas are written out below.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import attncc
from attncc.testing import check_attention, check_pattern, check_plan
from attncc.testing.oracle import Problem
from attncc_low_rank import kernelised
from attncc_low_rank.linear import LinearState, causal_linear_attention, elu_features, linear_attention
from attncc_low_rank.reduced import linformer_attention, pooled_mean, projected

BATCH, HEADS, SIZE = 2, 3, 8


def drawn(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()


def problem(n: int) -> tuple[Tensor, Tensor, Tensor]:
    query, key, value = (drawn(BATCH, HEADS, n, SIZE, seed=seed) for seed in range(3))
    return query, key, value


def check_equal(ours: Tensor, theirs: Tensor, leaves: tuple[Tensor, ...]) -> None:
    """Check outputs, and the gradients of their products with one drawn direction."""
    torch.testing.assert_close(ours, theirs)
    direction = drawn(*ours.shape, seed=9).detach()
    pairs = zip(*(torch.autograd.grad(out, leaves, direction) for out in (ours, theirs)), strict=True)
    for mine, wanted in pairs:
        torch.testing.assert_close(mine, wanted)


@pytest.mark.parametrize("ratio", [1, 4, 5])
def test_the_pattern_agrees_with_the_oracle(ratio: int) -> None:
    check_pattern(attncc.load("pooled", ratio=ratio), lengths=(1, 17, 48))


@pytest.mark.parametrize("ratio", [1, 4, 16])
def test_a_pooled_key_is_seen_once_its_block_has_ended(ratio: int) -> None:
    n, pattern = 64, attncc.load("pooled", ratio=ratio)
    last = torch.arange(n).unflatten(0, (-1, ratio)).amax(1)
    mask = last <= torch.arange(n)[:, None]
    assert torch.equal(attncc.dense_mask(pattern, n, n // ratio), mask)
    check_plan(attncc.plan(pattern, n, n // ratio, tile=(16, 16)), mask.numpy())
    check_attention(pattern, mask, Problem.drawn(n, n // ratio, heads=2, kv_heads=1, dtype=torch.float64))


def test_pooled_keys_beside_the_own_block_are_causal() -> None:
    """No query's output depends on what comes after it, and the first query sees itself."""
    n, ratio = 24, 4
    query, key, value = problem(n)
    past = attncc.load("pooled", ratio=ratio)
    near = attncc.load("block_diagonal", block=ratio).causal()
    parts = [
        attncc.attention(query, pooled_mean(key, ratio), pooled_mean(value, ratio), past, return_lse=True),
        attncc.attention(query, key, value, near, return_lse=True),
    ]
    out, _ = attncc.merge(*parts)
    for i in range(n):
        gradient = torch.autograd.grad(out[:, :, i].sum(), value, retain_graph=True)[0]
        assert gradient[:, :, i + 1 :].eq(0).all()
        assert gradient[:, :, : i + 1].ne(0).all()


@pytest.mark.parametrize("heads", [None, HEADS])
def test_linformer_is_attention_to_projected_keys(heads: int | None) -> None:
    query, key, value = problem(20)
    shape = (5, 20) if heads is None else (heads, 5, 20)
    first, second = drawn(*shape, seed=3), drawn(*shape, seed=4)
    ours = linformer_attention(query, key, value, first, second)
    keys = torch.einsum("...kn,bhnd->bhkd" if heads is None else "hkn,bhnd->bhkd", first, key)
    wanted = ((query @ keys.mT) * SIZE**-0.5).softmax(-1) @ torch.matmul(second, value)
    check_equal(ours, wanted, (query, key, value, first, second))


def test_linformer_with_the_identity_is_attention() -> None:
    tensors, identity = problem(12), torch.eye(12, dtype=torch.float64)
    torch.testing.assert_close(
        linformer_attention(*tensors, identity, identity), attncc.attention(*tensors, attncc.load("full"))
    )


def test_linear_attention_is_its_formula() -> None:
    query, key, value = problem(15)
    weights = elu_features(query) @ elu_features(key).mT
    wanted = weights / weights.sum(-1, keepdim=True) @ value
    check_equal(linear_attention(query, key, value), wanted, (query, key, value))


@pytest.mark.parametrize("chunk", [1, 7, 64, 100])
def test_chunks_dont_change_causal_linear_attention(chunk: int) -> None:
    query, key, value = problem(80)
    weights = (elu_features(query) @ elu_features(key).mT).tril()
    wanted = weights / weights.sum(-1, keepdim=True) @ value
    check_equal(causal_linear_attention(query, key, value, chunk=chunk)[0], wanted, (query, key, value))


@pytest.mark.parametrize("step", [1, 7, 64])
def test_steps_of_any_size_equal_one_pass(step: int) -> None:
    tensors = problem(80)
    state: LinearState | None = None
    outs = []
    for first in range(0, 80, step):
        out, state = causal_linear_attention(*(x[:, :, first : first + step] for x in tensors), state, chunk=16)
        outs.append(out)
    whole, last = causal_linear_attention(*tensors)
    check_equal(torch.cat(outs, 2), whole, tensors)
    assert state is not None
    torch.testing.assert_close((state.values, state.features), (last.values, last.features))


def test_linear_attention_is_softmax_attention_of_a_kernelised_score() -> None:
    query, key, value = problem(20)
    features = elu_features(query), elu_features(key)
    ours = attncc.attention(*features, value, attncc.load("causal"), score=kernelised, scale=1.0)
    check_equal(ours, causal_linear_attention(query, key, value)[0], (query, key, value))


def test_the_weights_of_linear_attention_have_the_rank_of_its_features() -> None:
    query, key, _ = problem(40)
    weights = elu_features(query) @ elu_features(key).mT
    ranks = torch.linalg.matrix_rank(weights / weights.sum(-1, keepdim=True))
    assert (ranks == SIZE).all()


def test_gradients_are_those_of_finite_differences() -> None:
    query, key, value = (x.detach()[:1, :1, :5, :3].requires_grad_() for x in problem(5))

    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return causal_linear_attention(query, key, value, chunk=2)[0]

    assert torch.autograd.gradcheck(attend, (query, key, value))
    assert torch.autograd.gradcheck(linear_attention, (query, key, value))


def test_sums_of_short_numbers_are_in_float32() -> None:
    tensors = [x.detach().bfloat16() for x in problem(300)]
    out, state = causal_linear_attention(*tensors)
    assert out.dtype == torch.bfloat16
    assert state.values.dtype == torch.float32
    wanted, _ = causal_linear_attention(*(x.double() for x in tensors))
    assert (out.double() - wanted).abs().max() < 0.02


def test_bad_input_is_refused_by_name() -> None:
    query, key, value = problem(10)
    with pytest.raises(attncc.ParameterError, match="ratio=0"):
        attncc.load("pooled", ratio=0)
    for ratio in (0, 3):
        with pytest.raises(attncc.ParameterError, match=f"ratio={ratio} with N = 10"):
            pooled_mean(key, ratio)
    with pytest.raises(attncc.ParameterError, match="chunk=0"):
        causal_linear_attention(query, key, value, chunk=0)
    with pytest.raises(attncc.ShapeError, match="projection"):
        projected(key, drawn(4, 9))
    with pytest.raises(attncc.ShapeError, match="same heads"):
        linear_attention(query, key[:, :1], value[:, :1])


def test_no_positions_give_no_outputs() -> None:
    nothing = torch.zeros(1, 2, 0, 4)
    out, state = causal_linear_attention(nothing, nothing, nothing)
    assert out.shape == nothing.shape
    assert not state.values.any()
