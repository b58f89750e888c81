"""Weights of scores: names, shapes, dtypes, gradients, lookups, and refusals."""

from __future__ import annotations

import pytest
import torch
from example_scores import CAUSAL, by_gap, looked_up, sloped, tensors

import attncc
from attncc import Table, Weights
from attncc.errors import ScoreError, TableError


def test_weights_of_one_shape_keep_the_names_of_their_score() -> None:
    @attncc.score
    def other(i, *, bias: Weights):
        return bias[i]

    @attncc.score
    def another(i, *, slopes: Weights):
        return slopes[i]

    weights = torch.rand(4)
    assert str(other(bias=weights).expression) == "score + bias[i]"
    assert str(another(slopes=weights).expression) == "score + slopes[i]"


def test_weights_that_are_not_parameters_are_refused() -> None:
    @attncc.score
    def own(score, h, *, slopes: Weights):
        return score + slopes[h] * Weights((2,), "own")[h]

    with pytest.raises(ScoreError, match="its parameters"):
        own(slopes=torch.rand(2))


def test_weights_may_come_at_the_call() -> None:
    q, k, v = tensors()
    slopes, table = torch.rand(2), torch.randn(40)
    wanted = attncc.attention(q, k, v, CAUSAL, score=sloped(slopes=slopes).then(by_gap(table=table)))
    both = {"slopes": slopes, "table": table}
    for score, weights in (
        (sloped().then(by_gap), both),
        (sloped(slopes=slopes).then(by_gap), {"table": table}),
        (sloped(slopes=2 * slopes).then(by_gap(table=table)), {"slopes": slopes}),
        (sloped(slopes=torch.rand(7)).then(by_gap(table=torch.rand(3))), both),
    ):
        assert torch.equal(attncc.attention(q, k, v, CAUSAL, score=score, weights=weights), wanted)
    with pytest.raises(ScoreError, match=r"(?s)no tensor for its weights 'table'.*weights=\{\"table\": \.\.\.\}"):
        attncc.attention(q, k, v, CAUSAL, score=sloped().then(by_gap), weights={"slopes": slopes})
    with pytest.raises(ScoreError, match="Its weights are none"):
        attncc.attention(q, k, v, CAUSAL, weights={"slopes": slopes})


def test_expressions_are_built_once_per_shape_of_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    built, build = [], attncc.ScoreFactory.built
    monkeypatch.setattr(
        attncc.ScoreFactory, "built", lambda self, given, shapes: built.extend(shapes) or build(self, given, shapes)
    )

    @attncc.score
    def noted(h, *, gain: Weights, twice: bool = False):
        return gain[h] * (2 if twice else 1)

    q, k, v = tensors()
    for shape in ((2,), (2,), (3,), (2,)):
        attncc.attention(q, k, v, CAUSAL, score=noted, weights={"gain": torch.rand(shape)})
        attncc.attention(q, k, v, CAUSAL, score=noted(gain=torch.rand(shape)))
    assert built == [(2,), (3,)]


def test_resized_weights_are_read_again() -> None:
    q, k, v = tensors()
    table = torch.randn(40)
    score = by_gap(table=table)
    attncc.attention(q, k, v, CAUSAL, score=score)
    table.resize_(44)
    torch.testing.assert_close(
        attncc.attention(q, k, v, CAUSAL, score=score),
        attncc.attention(q, k, v, CAUSAL, score=by_gap(table=table[:40])),
    )


def test_weights_made_in_a_body_are_refused() -> None:
    captured = torch.randn(2)

    @attncc.score
    def made(score, h, *, slopes: Weights):
        return score + Weights(captured)[h] * slopes[h]

    with pytest.raises(ScoreError, match=r"(?s)attncc\.Weights\(\.\.\.\) was made of a Tensor.*Declare"):
        made(slopes=torch.rand(2))


def test_names_of_chained_weights_are_distinct() -> None:
    twice = sloped(slopes=torch.rand(2)).then(sloped(slopes=torch.rand(3)))
    assert list(twice.then(sloped).template.names) == ["slopes", "slopes_1", "slopes_2"]
    assert list(sloped().then(sloped().then(sloped)).template.names) == ["slopes", "slopes_1", "slopes_1_2"]
    assert sloped() == sloped()
    assert sloped() != sloped(slopes=torch.rand(2))


def test_weights_may_be_of_another_dtype_than_the_query() -> None:
    q, k, v = tensors(dtype=torch.bfloat16)
    slopes = torch.tensor([0.1, 0.01], requires_grad=True)
    out = attncc.attention(q, k, v, CAUSAL, score=sloped(slopes=slopes))
    assert out.dtype == torch.bfloat16
    [gradient] = torch.autograd.grad(out.float().square().sum(), slopes)
    assert gradient.dtype == torch.float32
    wide = attncc.attention(q.double(), k.double(), v.double(), CAUSAL, score=sloped(slopes=slopes))
    torch.testing.assert_close(out.double(), wide, rtol=0.02, atol=0.02)


def test_weights_need_not_be_contiguous() -> None:
    table = torch.randn(40, 40, dtype=torch.float64).T.requires_grad_()
    inputs = tensors(dtype=torch.float64)
    for x in (table, table.detach().contiguous().requires_grad_()):
        out = attncc.attention(*inputs, CAUSAL, score=looked_up(table=x))
        assert torch.autograd.grad(out.square().sum(), x)[0].shape == (40, 40)


def test_only_weights_that_require_gradients_receive_them() -> None:
    first, second = torch.rand(2, requires_grad=True), torch.rand(2)
    score = sloped(slopes=first).then(sloped(slopes=second))
    attncc.attention(*tensors(), CAUSAL, score=score).sum().backward()
    assert first.grad is not None
    assert second.grad is None


def test_autocast_leaves_weights_alone() -> None:
    slopes = torch.rand(2, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        out = attncc.attention(*tensors(), CAUSAL, score=sloped(slopes=slopes))
    assert out.dtype == torch.bfloat16
    out.float().sum().backward()
    assert slopes.grad is not None
    assert slopes.grad.dtype == torch.float32


def test_lookups_are_guarded_by_the_pattern_or_by_where() -> None:
    q, k, v = tensors()
    short = torch.randn(16)
    attncc.attention(q, k, v, attncc.load("sliding_window", window=16), score=by_gap(table=short))

    @attncc.score
    def near(score, i, j, *, table: Weights):
        return attncc.where((i - j < 16) & (i >= j), score + table[i - j], score)

    attncc.attention(q, k, v, attncc.load("full"), score=near(table=short))
    for pattern, says in ((CAUSAL, "from 0 to 39"), (attncc.load("full"), "from -39 to 39")):
        with pytest.raises(TableError, match=f"(?s)Weights 'table' have 16 entries.*{says}"):
            attncc.attention(q, k, v, pattern, score=by_gap(table=short))


def test_lookups_by_head_and_batch_entry_are_checked() -> None:
    @attncc.score
    def each(b, h, *, w: Weights, t: Table):
        return w[b, t[h]]

    q, k, v = tensors(heads=3)
    attncc.attention(q, k, v, CAUSAL, score=each(w=torch.randn(2, 5), t=[4, 0, 1]))
    with pytest.raises(TableError, match="Weights 'w' have 1 entries along axis 0"):
        attncc.attention(q, k, v, CAUSAL, score=each(w=torch.randn(1, 5), t=[4, 0, 1]))
    with pytest.raises(TableError, match="Table 't' has 2 entries"):
        attncc.attention(q, k, v, CAUSAL, score=each(w=torch.randn(2, 5), t=[4, 0]))
