"""@attncc.score, and scores through attention(): options, -inf, refusals, and compiled graphs."""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np
import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

import attncc
from attncc import Bounds, Table, Weights
from attncc.errors import ParameterError, ScoreError, TableError
from attncc.frontend.scores import as_score

CAUSAL = attncc.load("causal")
STRIDED = attncc.load("strided", l=8)
BACKENDS = ["torch", "reference"]


@attncc.score
def sloped(score, h, i, j, *, slopes: Weights):
    """A slope of the head.

    More about it.
    """
    return score - slopes[h] * abs(i - j)


@attncc.score
def looked_up(i, j, *, table: Weights):
    return table[i, j]


@attncc.score
def by_gap(i, j, *, table: Weights):
    return table[i - j]


@attncc.score
def capped(score, *, cap: Annotated[float, Bounds(minimum=0.5, maximum=99)] = 30.0, twice: bool = False, n: int = 1):
    once = cap * attncc.tanh(score / cap)
    return 2 * n * once if twice else n * once


def tensors(n: int = 40, heads: int = 2, dim: int = 8, **options) -> list[torch.Tensor]:
    torch.manual_seed(0)
    return [torch.randn(2, heads, n, dim, **options) for _ in range(3)]


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


def test_expressions_are_built_once_per_shape_of_weights() -> None:
    built = []

    @attncc.score
    def noted(h, *, gain: Weights, twice: bool = False):
        built.append(gain.shape)
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
        (_with_float_table, "int, float, bool, attncc.Table or attncc.Weights"),
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


def test_gradients_pass_gradcheck() -> None:
    inputs = [x.double().requires_grad_() for x in tensors(11, dim=3)]
    slopes, table = (torch.rand(n, dtype=torch.float64, requires_grad=True) for n in (2, 11))
    chained = sloped(slopes=slopes).then(capped(cap=2)).then(by_gap(table=table))

    def run(q, k, v, slopes, table):
        return attncc.attention(q, k, v, CAUSAL, score=chained.on([slopes, table]), return_lse=True)

    torch.autograd.gradcheck(run, (*inputs, slopes, table))


def test_torch_compile_has_no_graph_break() -> None:
    torch._dynamo.reset()
    slopes = torch.rand(2, requires_grad=True)
    score = sloped(slopes=slopes).then(capped())

    @torch.compile(fullgraph=True, backend="aot_eager")
    def block(q, k, v):
        return attncc.attention(q * 2, k, v, STRIDED, score=score).sin()

    inputs = [x.requires_grad_() for x in tensors()]
    found = block(*inputs)
    wanted = attncc.attention(inputs[0] * 2, *inputs[1:], STRIDED, score=score).sin()
    torch.testing.assert_close(found, wanted)
    leaves = [*inputs, slopes]
    for a, b in zip(torch.autograd.grad(found.sum(), leaves), torch.autograd.grad(wanted.sum(), leaves), strict=True):
        torch.testing.assert_close(a, b)


DOUBLED = looked_up()
IN_GRAPHS = {
    "declared": lambda w: {"score": by_gap, "weights": {"table": w}},
    "kept": lambda w: {"score": DOUBLED, "weights": {"table": w.view(-1, 1).expand(-1, 40)}},
    "made in the graph": lambda w: {"score": capped(cap=5).then(by_gap), "weights": {"table": w}},
    "made on its weights": lambda w: {"score": by_gap(table=w)},
    "one of two": lambda w: {"score": sloped(slopes=w[:2]).then(by_gap), "weights": {"table": w}},
}


FEW = ("declared", "one of two")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in FEW else pytest.mark.slow) for name in IN_GRAPHS]
)
def test_graphs_serve_all_values_of_weights_and_all_lengths(name: str) -> None:
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")

    def attend(q, k, v, w):
        return attncc.attention(q * 2, k, v, CAUSAL, **IN_GRAPHS[name](w))

    graph = torch.compile(attend, fullgraph=True, backend=counter)
    for n, graphs in ((40, 1), (40, 1), (39, 2), (38, 2)):
        inputs = [x.requires_grad_() for x in (*tensors(n), torch.randn(40))]
        found, wanted = graph(*inputs), attend(*inputs)
        torch.testing.assert_close(found, wanted)
        for a, b in zip(*(torch.autograd.grad(x.sum(), inputs) for x in (found, wanted)), strict=True):
            torch.testing.assert_close(a, b)
        assert counter.frame_count == graphs


def test_graphs_specialise_to_the_shape_of_weights() -> None:
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")
    graph = torch.compile(
        lambda x, w: attncc.attention(x, x, x, CAUSAL, score=attncc.t5_bias, weights={"weights": w}),
        fullgraph=True,
        backend=counter,
    )
    x = tensors(6)[0]
    for buckets in (4, 6, 4):
        w = torch.randn(2, buckets)
        torch.testing.assert_close(graph(x, w), attncc.attention(x, x, x, CAUSAL, score=attncc.t5_bias(weights=w)))
    assert counter.frame_count == 2


def test_tables_of_a_score_are_constants_of_its_graph() -> None:
    @attncc.score
    def by_bucket(i, j, *, weights: Weights, buckets: Table):
        return weights[buckets[i - j]]

    score, x, w = by_bucket(buckets=torch.arange(40) // 7), tensors()[0], torch.randn(6)
    graph = torch.compile(
        lambda x, w: attncc.attention(x, x, x, CAUSAL, score=score, weights={"weights": w}),
        fullgraph=True,
        backend="aot_eager",
    )
    wanted = attncc.attention(x, x, x, CAUSAL, score=by_gap(table=w[torch.arange(40) // 7]))
    torch.testing.assert_close(graph(x, w), wanted)


def test_the_operator_with_weights_passes_opcheck() -> None:
    q, k, v = tensors(20)
    score = sloped(slopes=torch.rand(2))
    arguments = (q, k, v, score.tensors, [], 0.25, STRIDED.handle, score.key, 0, "torch", "")
    torch.library.opcheck(
        torch.ops.attncc.general_attention.default, arguments, test_utils=("test_schema", "test_faketensor")
    )


def test_autocast_leaves_weights_alone() -> None:
    slopes = torch.rand(2, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        out = attncc.attention(*tensors(), CAUSAL, score=sloped(slopes=slopes))
    assert out.dtype == torch.bfloat16
    out.float().sum().backward()
    assert slopes.grad is not None
    assert slopes.grad.dtype == torch.float32


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


def test_invalid_scores_are_refused() -> None:
    q, k, v = tensors()
    with pytest.raises(ScoreError, match="not a score"):
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
