"""@attncc.score, and scores through attention(): parameters, values, -inf, and refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from example_scores import CAUSAL, STRIDED, by_gap, capped, looked_up, sloped, tensors

import attncc
from attncc import Weights
from attncc.errors import ParameterError, ScoreError, TableError
from attncc.frontend.scores import as_score

BACKENDS = ["torch", "reference"]


def test_factories_describe_themselves() -> None:
    assert sloped.name == "sloped"
    assert sloped.signature == "sloped(slopes: Weights)"
    assert sloped.doc.startswith("A slope of the head.")
    assert repr(capped(cap=4)) == "capped(cap=4.0, twice=False, n=1)"
    assert repr(capped) == "<score capped(cap: float=30.0, twice: bool=False, n: int=1)>"


def test_functions_without_the_score_are_biases() -> None:
    weights = torch.randn(3, 3)
    assert looked_up(table=weights).expression.is_additive
    assert str(looked_up(table=weights).expression) == "score + table[i, j]"


def test_scores_of_equal_expressions_are_equal_on_the_same_tensors() -> None:
    a, b = torch.rand(2), torch.rand(2)
    assert sloped(slopes=a) == sloped(slopes=a)
    assert sloped(slopes=a) != sloped(slopes=b)
    assert sloped(slopes=a).key == sloped(slopes=b).key
    assert sloped(slopes=a).with_weights(slopes=b) == sloped(slopes=b)
    assert capped(cap=4) != capped(cap=5)
    assert len({sloped(slopes=a), sloped(slopes=a)}) == 1


@pytest.mark.parametrize("number", [1 / 3, math.log(2), -1e-12, 2**0.5])
def test_scores_compare_with_numbers_of_any_precision(number: float) -> None:
    @attncc.score
    def above(score):
        return attncc.where(score > number, score, 0.5 * score)

    q, k, v = tensors()
    raw = (q @ k.mT / math.sqrt(q.shape[-1])).masked_fill(~torch.ones(q.shape[2], k.shape[2]).tril().bool(), -math.inf)
    wanted = torch.where(raw > number, raw, 0.5 * raw).softmax(-1) @ v
    torch.testing.assert_close(attncc.attention(q, k, v, CAUSAL, score=above), wanted)


def test_parameters_named_as_symbols_are_refused() -> None:
    with pytest.raises(ScoreError, match="'b' as Weights"):

        @attncc.score
        def bias(score, h, i, j, *, b: Weights):
            return score + b[h, i, j]


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: sloped(slope=torch.rand(2)), ParameterError, "Did you mean 'slopes'"),
        (lambda: sloped(slopes=[0.5]), TableError, "floating-point tensor"),
        (lambda: sloped(slopes=torch.rand(2, 2)), ScoreError, "one index a dimension"),
        (lambda: capped(cap="4"), ParameterError, "a finite number"),
        (lambda: capped(cap=math.nan), ParameterError, "a finite number"),
        (lambda: capped(cap=0.1), ParameterError, "at least 0.5 and at most 99"),
        (lambda: capped(cap=True), ParameterError, "a finite number"),
        (lambda: sloped(slopes=torch.rand(2)).with_weights(slopes=torch.rand(2, 3)).key, ScoreError, "one index a dim"),
        (lambda: sloped(slopes=torch.rand(2)).with_weights(slope=torch.rand(2)), ScoreError, "Did you mean 'slopes'"),
        (lambda: as_score(sloped, torch.rand(2)), ScoreError, "mapping from the names"),
        (lambda: sloped().expression, ScoreError, "no tensor for its weights 'slopes'"),
    ],
)
def test_parameters_are_checked(call, error, says: str) -> None:
    with pytest.raises(error, match=says):
        call()


def test_numpy_numbers_are_numbers() -> None:
    assert capped(cap=np.float32(4)).key == capped(cap=4).key == capped(cap=4.0).key


def _declared(function):
    return lambda: attncc.score(function)()


def _with_float_table(i, *, t: torch.Tensor): ...


def _branching(score, i, j):
    return score if i < j else 0.0


def _raising(score):
    return undefined + score  # noqa: F821


def _conditional(i, j):
    return i < j


def _nothing(score): ...


def _infinite(score, i):
    return (score + i) * -math.inf


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (_with_float_table, "int, float, bool, attncc.Table, attncc.Lists or attncc.Weights"),
        (_branching, "attncc.where"),
        (_raising, "raised NameError"),
        (_conditional, "A comparison was used as a number"),
        (_nothing, "None"),
        (_infinite, "whole of a choice"),
    ],
)
def test_declarations_are_checked(function, says: str) -> None:
    with pytest.raises(ScoreError, match=says):
        _declared(function)()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_score_without_parameters_needs_no_call(backend: str) -> None:
    q, k, v = tensors()
    found = attncc.attention(q, k, v, CAUSAL, score=capped, backend=backend)
    torch.testing.assert_close(found, attncc.attention(q, k, v, CAUSAL, score=capped(cap=30.0), backend=backend))
    assert attncc.compile(CAUSAL, 40, score=capped).plan is not None


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("learned", [False, True])
def test_minus_infinity_masks_and_gives_no_nan(backend: str, learned: bool) -> None:
    inputs = [x.requires_grad_() for x in tensors()]
    table = torch.randn(40, 40)
    table[5], table[:, 7] = -math.inf, -math.inf
    table[9, :9] = -math.inf
    score = looked_up(table=table.requires_grad_(learned))
    out, lse = attncc.attention(*inputs, CAUSAL, score=score, backend=backend, return_lse=True)
    assert (out[:, :, 5] == 0).all()
    assert (lse[:, :, 5] == -math.inf).all()
    torch.testing.assert_close(out[:, :, 9], inputs[2][:, :, 9])
    loss = out.square().sum() + lse[lse > -math.inf].sum()
    found = torch.autograd.grad(loss, [*inputs, table][: 3 + learned])
    assert not any(x.isnan().any() for x in found)
    assert (found[0][:, :, 5] == 0).all()
    assert (found[1][:, :, 7] == 0).all()
    if learned:
        assert (found[3][5] == 0).all()
        assert (found[3][:, 7] == 0).all()
        assert found[3][9, 9] != 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_scores_undefined_at_unconnected_pairs_give_no_nan(backend: str) -> None:
    @attncc.score
    def rooted(score, i, j):
        return score + attncc.sqrt(i - j) - attncc.log(1 + i - j)

    inputs = [x.requires_grad_() for x in tensors(100)]
    for pattern in (CAUSAL, STRIDED):
        out = attncc.attention(*inputs, pattern, score=rooted(), backend=backend)
        assert not any(x.isnan().any() for x in (out, *torch.autograd.grad(out.sum(), inputs)))


def test_gradients_pass_gradcheck() -> None:
    inputs = [x.double().requires_grad_() for x in tensors(11, dim=3)]
    slopes, table = (torch.rand(n, dtype=torch.float64, requires_grad=True) for n in (2, 11))
    chained = sloped(slopes=slopes).then(capped(cap=2)).then(by_gap(table=table))

    def run(q, k, v, slopes, table):
        return attncc.attention(q, k, v, CAUSAL, score=chained.on([slopes, table]), return_lse=True)

    torch.autograd.gradcheck(run, (*inputs, slopes, table))


def test_flex_attention_score_mods_work_unchanged() -> None:
    def score_mod(score, b, h, q_idx, kv_idx):
        return attncc.where(q_idx >= kv_idx, score * 0.5 + h, -float("inf"))

    @attncc.score
    def borrowed(score, b, h, i, j):
        return score_mod(score, b, h, i, j)

    q, k, v = tensors()
    found = attncc.attention(q, k, v, attncc.load("full"), score=borrowed())
    torch.testing.assert_close(found, attncc.attention(q, k, v, CAUSAL, scale=0.5 * 8**-0.5))


def test_scores_read_offsets_and_lengths() -> None:
    @attncc.score
    def placed(score, i, j, n_q, n_k):
        return score + (i * n_k - j * n_q) / 1000

    q, k, v = tensors()
    whole = attncc.attention(q, k, v, CAUSAL, score=placed())
    part = attncc.attention(q[:, :, 30:], k, v, CAUSAL, score=placed(), q_offset=30)
    assert not torch.allclose(whole[:, :, 30:], part)  # n_q differs
    constant = attncc.attention(q, k, v, CAUSAL, score=by_gap(table=torch.linspace(0, 3, 40)))
    part = attncc.attention(q[:, :, 30:], k, v, CAUSAL, score=by_gap(table=torch.linspace(0, 3, 40)), q_offset=30)
    torch.testing.assert_close(constant[:, :, 30:], part)


def test_invalid_scores_are_refused() -> None:
    q, k, v = tensors()
    with pytest.raises(ScoreError, match=r"under @attncc\.pattern or @attncc\.score"):
        attncc.attention(q, k, v, CAUSAL, score=lambda score: score)
    with pytest.raises(TableError, match="are on meta, query on cpu"):
        attncc.attention(q, k, v, CAUSAL, score=sloped(slopes=torch.rand(2, device="meta")))
    with pytest.raises(TableError, match="have 1 entries along axis 0"):
        attncc.attention(q, k, v, CAUSAL, score=sloped(slopes=torch.rand(1)))


def test_inputs_without_queries_or_keys_give_zero_gradients() -> None:
    q, k, v = tensors()
    slopes = torch.rand(2, requires_grad=True)
    score = sloped(slopes=slopes)
    assert attncc.attention(q[:, :, :0], k, v, STRIDED, score=score).shape == (2, 2, 0, 8)
    attncc.attention(q, k[:, :, :0], v[:, :, :0], STRIDED, score=score).sum().backward()
    assert (slopes.grad == 0).all()


def test_temporary_scores_live_until_the_backward() -> None:
    slopes = torch.rand(2, requires_grad=True)
    out = attncc.attention(*tensors(), CAUSAL, score=sloped(slopes=slopes).then(capped(cap=3.25)))
    out.sum().backward()
    assert slopes.grad is not None
