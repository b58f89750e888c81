"""Sinks: a row of the softmax with one more key, whose score is the sink and whose value is 0."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch.nn.functional import pad

import attncc
from attncc import backends
from attncc.backends.reference.mask import as_broadcast
from attncc.errors import ShapeError
from attncc.testing.oracle import Formula, Problem, Results, dense, differentiated

BACKENDS = [name for name, problem in backends.report() if problem is None]
CAUSAL = attncc.load("causal")
PATTERNS = {
    "causal": CAUSAL,
    "window": attncc.load("sliding_window", window=7),
    "strided": attncc.load("strided", l=8),
    "full": attncc.load("full"),
    "heads": attncc.per_head([CAUSAL, attncc.load("sliding_window", window=3)]),
    "nothing for some": ~attncc.load("prefix", length=20),
    "nothing": CAUSAL & ~CAUSAL,
}
DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]


def by_definition(problem: Problem, sink: Tensor, mask: Tensor, formula: Formula | None = None) -> Results:
    """Dense attention with one more key: all queries see it, its score is the sink, (B, Hq, Nq, 1), its value 0."""

    def scored(scores: Tensor, weights: Sequence[Tensor]) -> Tensor:
        *weights, logits = weights
        others = scores[..., :-1] if formula is None else formula(scores[..., :-1], weights)
        return torch.cat([others, logits.expand(*others.shape[:-1], 1)], -1)

    key, value = (pad(x, (0, 0, 0, 1)) for x in (problem.key, problem.value))
    longer = Problem(problem.query, key, value, problem.grad_out, problem.grad_lse, problem.scale, problem.weights)
    found = dense(longer.with_weights([*problem.weights, sink]), pad(mask, (0, 1), value=True), scored)
    d_key, d_value = found.d_key[..., :-1, :], found.d_value[..., :-1, :]
    return Results(found.out, found.lse, found.d_query, d_key, d_value, found.d_weights)


def check(pattern: attncc.Pattern, problem: Problem, sink: Tensor, *, score=None, formula=None, **options) -> None:
    """Compare with the definition in float64, as attncc.testing.check_attention does without a sink."""
    heads, batch = problem.query.shape[1], problem.query.shape[0]
    lengths = problem.query.shape[2], problem.key.shape[2]
    offset = options.get("q_offset", 0)
    mask = as_broadcast(attncc.dense_mask(pattern, *lengths, q_offset=offset, heads=heads, batch=batch), pattern)
    leaves = *problem.leaves(), sink.detach().requires_grad_()
    scored = None if score is None else score.on(leaves[3:-1])
    scale = problem.scale
    named = {"sink": leaves[-1], "score": scored, "scale": scale, "enable_gqa": True, "return_lse": True}
    out, lse = attncc.attention(*leaves[:3], pattern, **named, **options)
    found = differentiated(out, lse, leaves, problem)
    assert (out.dtype, lse.dtype) == (problem.query.dtype, torch.promote_types(problem.query.dtype, torch.float32))
    rows = sink.unsqueeze(-1) if sink.ndim in (1, 2) else sink
    exact, plain = (
        by_definition(each, rows.to(each.query.dtype).unsqueeze(-1), mask, formula).items()
        for each in (problem.to(torch.float64), problem)
    )
    for (name, value), (_, wanted), (_, yardstick) in zip(found.items(), exact, plain, strict=True):
        sums = name.startswith(("d_key", "d_value", "d_weights"))
        close(name, value, wanted.view(value.shape), yardstick.view(value.shape), lse.numel() ** 0.5 if sums else 1.0)


def close(name: str, found: Tensor, wanted: Tensor, yardstick: Tensor, roundings: float) -> None:
    """The error is at most twice that of dense attention in the same dtype, and a few roundings."""
    empty = wanted == -math.inf
    assert torch.equal(found == -math.inf, empty), name
    assert not found.isnan().any(), name
    error, allowance = ((x.double() - wanted).masked_fill(empty, 0.0).abs() for x in (found, yardstick))
    size = wanted.masked_fill(empty, 0.0).abs()
    if found.numel():
        limit = 2 * allowance.max() + 16 * roundings * torch.finfo(found.dtype).eps * size.max().clamp(1.0)
        assert error.max() <= limit, f"{name} is off by {error.max():.2e}, allowed {limit:.2e}"


def logits(*shape: int, seed: int = 1) -> Tensor:
    return 2 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", PATTERNS)
def test_a_sink_is_a_key_whose_value_is_zero(backend: str, name: str) -> None:
    problem = Problem.drawn(33, 33, batch=2, heads=4, kv_heads=2)
    check(PATTERNS[name], problem, logits(4), backend=backend)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("of_sink", [torch.float32, torch.bfloat16], ids=str)
def test_sinks_of_any_dtype_suit_low_precision(backend: str, dtype: torch.dtype, of_sink: torch.dtype) -> None:
    problem = Problem.drawn(40, 40, batch=2, heads=2, kv_heads=1, dtype=dtype)
    check(PATTERNS["window"], problem, logits(2).to(of_sink), backend=backend)


SIZES = st.sampled_from([1, 2, 7, 31, 64, 65])


@settings(max_examples=150)
@given(st.data())
def test_outputs_and_gradients_agree_with_the_definition(data: st.DataObject) -> None:
    draw = data.draw
    batch, kv_heads, group = (draw(st.sampled_from(sizes)) for sizes in ([1, 2], [1, 2], [1, 3]))
    heads, q_len, kv_len = kv_heads * group, draw(SIZES), draw(SIZES)
    dtype, scale = draw(st.sampled_from(DTYPES)), draw(st.sampled_from([None, 0.0]))
    sizes = {
        "batch": batch,
        "heads": heads,
        "kv_heads": kv_heads,
        "head_dim": 8,
        "value_dim": draw(st.sampled_from([8, 17])),
    }
    problem = Problem.drawn(q_len, kv_len, **sizes, dtype=dtype, scale=scale)
    full = (batch, heads, q_len)
    shapes = [(), full[1:2], full[:2], full, (1,), (1, heads), (batch, 1, q_len), (1, 1, q_len)]
    sink = logits(*draw(st.sampled_from(shapes))) * draw(st.sampled_from([0.0, 1.0, 30.0]))
    if draw(st.booleans()):
        sink = torch.where(sink > 0, -math.inf, sink)
    pattern = PATTERNS[draw(st.sampled_from(sorted(PATTERNS)))]
    check(pattern, problem, sink, q_offset=draw(st.sampled_from([0, 5, -3])), backend="torch")


@attncc.score
def shifted(score, h, *, shift: attncc.Weights):
    return score + shift[h]


@pytest.mark.parametrize("backend", BACKENDS)
def test_scores_and_their_weights_agree_with_the_definition(backend: str) -> None:
    shift = torch.tensor([0.5, -2.0])
    problem = Problem.drawn(30, 30, heads=2, kv_heads=1).with_weights([shift])
    check(
        PATTERNS["nothing for some"],
        problem,
        logits(2),
        score=shifted(shift=shift),
        formula=lambda scores, weights: scores + weights[0].view(-1, 1, 1),
        backend=backend,
    )


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("level", [-1e9, 1e9, torch.finfo(torch.float32).min])
def test_sinks_count_as_one_key_among_large_equal_scores(backend: str, level: float) -> None:
    """The logarithm of their number is lost in a float32 of that size."""

    @attncc.score
    def replaced(score, *, level: float):
        return 0.0 * score + level

    query, value = torch.zeros(1, 1, 8, 4), torch.ones(1, 1, 8, 4)
    run = {"score": replaced(level=level), "sink": torch.tensor([level]), "backend": backend}
    out = attncc.attention(query, query, value, CAUSAL, **run)
    keys = torch.arange(1.0, 9.0)
    torch.testing.assert_close(out[0, 0, :, 0], keys / (keys + 1))


def test_results_are_those_of_gpt_oss() -> None:
    """The eager attention of the model in transformers: a column of sinks, a softmax, and the column dropped."""
    problem = Problem.drawn(24, 24, batch=2, heads=4, kv_heads=2)
    sinks = logits(4).requires_grad_()
    leaves = *problem.leaves(), sinks
    query, key, value, _ = leaves
    key, value = (x.repeat_interleave(2, 1) for x in (key, value))
    scores = query @ key.transpose(2, 3) * problem.scale
    scores = scores.masked_fill(torch.ones(24, 24, dtype=torch.bool).triu(1), torch.finfo(scores.dtype).min)
    combined = torch.cat([scores, sinks.reshape(1, -1, 1, 1).expand(2, -1, 24, -1)], -1)
    combined = combined - combined.max(-1, keepdim=True).values
    wanted = torch.softmax(combined, -1)[..., :-1] @ value
    found = attncc.attention(*leaves[:3], CAUSAL, sink=sinks, enable_gqa=True)
    torch.testing.assert_close(found, wanted)
    gradients = (torch.autograd.grad(x, leaves, problem.grad_out) for x in (found, wanted))
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_a_sink_of_zero_adds_one_to_the_denominator() -> None:
    x = Problem.drawn(20, 20).query
    scores = (x @ x.mT / 4).exp().tril()
    wanted = scores @ x / (1 + scores.sum(-1, keepdim=True))
    torch.testing.assert_close(attncc.attention(x, x, x, CAUSAL, sink=torch.zeros(())), wanted)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["causal", "nothing for some", "nothing"])
def test_a_sink_of_minus_infinity_is_none(backend: str, name: str) -> None:
    problem = Problem.drawn(30, 30, heads=2, kv_heads=2)
    sink = torch.full((2,), -math.inf, requires_grad=True)
    results = []
    for given_sink in ({}, {"sink": sink}):
        leaves = *problem.leaves(), sink
        run = {"return_lse": True, "backend": backend, **given_sink}
        results.append(differentiated(*attncc.attention(*leaves[:3], PATTERNS[name], **run), leaves, problem))
    without, with_sink = (dict(each.items()) for each in results)
    assert torch.equal(with_sink.pop("d_weights[0]"), torch.zeros(2))
    for key, value in with_sink.items():
        torch.testing.assert_close(value, without[key], msg=key)


@pytest.mark.parametrize("backend", BACKENDS)
def test_rows_without_keys_have_the_sink_alone(backend: str) -> None:
    problem, sink = Problem.drawn(30, 30, heads=2, kv_heads=2), logits(2).requires_grad_()
    leaves = *problem.leaves(), sink
    run = {"sink": sink, "return_lse": True, "backend": backend}
    out, lse = attncc.attention(*leaves[:3], PATTERNS["nothing"], **run)
    assert (out == 0).all()
    assert torch.equal(lse, sink.view(2, 1).expand(1, 2, 30))
    *gradients, by_sink = torch.autograd.grad([out, lse], leaves, [problem.grad_out, problem.grad_lse])
    assert all(torch.equal(x, torch.zeros_like(x)) for x in gradients)
    torch.testing.assert_close(by_sink, problem.grad_lse.sum((0, 2)))


@pytest.mark.parametrize("level", [-3e38, -1e30, -200.0, 200.0, 1e30, 3e38])
@pytest.mark.parametrize("name", ["causal", "nothing for some"])
def test_large_sinks_give_no_nan(level: float, name: str) -> None:
    check(PATTERNS[name], Problem.drawn(25, 25, heads=2, kv_heads=2), torch.tensor([level, 0.0]))


def test_inputs_without_queries_heads_or_batch_entries_take_sinks() -> None:
    for batch, heads, rows in ((2, 2, 0), (2, 0, 5), (0, 2, 5)):
        query = torch.randn(batch, heads, rows, 8)
        sink = torch.zeros(heads, requires_grad=True)
        out, lse = attncc.attention(query, query, query, CAUSAL, sink=sink, return_lse=True)
        assert (out.shape, lse.shape) == (query.shape, query.shape[:3])
        (out.sum() + lse.sum()).backward()
        assert torch.equal(sink.grad, torch.zeros(heads))


@pytest.mark.parametrize("name", ["causal", "heads"])
def test_gradients_pass_gradcheck(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    draw = [torch.randn(1, 2, 7, 3, generator=generator, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    sink = torch.randn(2, generator=generator, dtype=torch.float64, requires_grad=True)

    def run(q: Tensor, k: Tensor, v: Tensor, sink: Tensor, backend: str = "torch") -> tuple[Tensor, Tensor]:
        return attncc.attention(q, k, v, PATTERNS[name], sink=sink, return_lse=True, backend=backend)

    torch.autograd.gradcheck(run, (*draw, sink))
    torch.autograd.gradgradcheck(lambda *x: run(*x, backend="reference"), (*draw, sink))


def test_sinks_may_be_all_that_is_trained() -> None:
    x, sink = Problem.drawn(20, 20, heads=2, kv_heads=2).query, logits(2)

    def loss(sink: Tensor) -> Tensor:
        return attncc.attention(x, x, x, CAUSAL, sink=sink).square().sum()

    leaf = sink.clone().requires_grad_()
    loss(leaf).backward()
    torch.testing.assert_close(torch.func.grad(loss)(sink), leaf.grad)
    step = torch.tensor([1e-3, 0.0])
    assert math.isclose((loss(sink + step) - loss(sink - step)).item() / 2e-3, leaf.grad[0].item(), rel_tol=1e-2)


def test_autocast_leaves_lse_and_the_sink_precise() -> None:
    x, sink = Problem.drawn(20, 20, heads=2, kv_heads=2).query, logits(2).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        out, lse = attncc.attention(x, x, x, CAUSAL, sink=sink, return_lse=True)
    assert (out.dtype, lse.dtype) == (torch.bfloat16, torch.float32)
    low = x.bfloat16()
    wanted = attncc.attention(low, low, low, CAUSAL, sink=sink, return_lse=True)
    assert torch.equal(out, wanted[0])
    assert torch.equal(lse, wanted[1])
    assert torch.autograd.grad(lse.sum(), sink)[0].dtype == torch.float32


@pytest.mark.parametrize("score", [None, attncc.alibi(slopes=torch.tensor([0.1, 0.5]))])
def test_graphs_take_sinks_as_inputs(score: attncc.Score | None) -> None:
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")

    def run(x: Tensor, sink: Tensor) -> tuple[Tensor, Tensor]:
        return attncc.attention(x, x, x, CAUSAL, sink=sink, score=score, return_lse=True)

    graph = torch.compile(run, fullgraph=True, backend=counter)
    x = Problem.drawn(20, 20, heads=2, kv_heads=2).query.requires_grad_()
    for seed in (1, 2):
        sink = logits(2, seed=seed).requires_grad_()
        found, wanted = graph(x, sink), run(x, sink)
        gradients = (torch.autograd.grad(sum(y.square().sum() for y in ys), [x, sink]) for ys in (found, wanted))
        for a, b in zip((*found, *next(gradients)), (*wanted, *next(gradients)), strict=True):
            torch.testing.assert_close(a, b)
    assert counter.frame_count == 1


def test_errors_of_a_graph_are_those_of_the_call() -> None:
    torch._dynamo.reset()
    x = torch.randn(1, 2, 9, 8)
    graph = torch.compile(lambda x, sink: attncc.attention(x, x, x, CAUSAL, sink=sink), fullgraph=True, backend="eager")
    with pytest.raises(ShapeError, match=r"sink \(3,\), query \(1, 2, 9, 8\)"):
        graph(x, torch.zeros(3))


class Model(nn.Module):
    def __init__(self, sink: Tensor, **options: object) -> None:
        super().__init__()
        self.attend = attncc.compile(CAUSAL, sink=sink, **options)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.attend(x, x, x)
        return found


@pytest.fixture(params=["parameter", "buffer"])
def model(request: pytest.FixtureRequest) -> Model:
    return Model(nn.Parameter(logits(2)) if request.param == "parameter" else logits(2))


def follows(model: nn.Module, sink: Tensor) -> bool:
    x = Problem.drawn(12, 12, heads=2, kv_heads=2).query
    return torch.equal(model(x), attncc.attention(x, x, x, CAUSAL, sink=sink))


NEW = torch.tensor([0.9, -0.3])


def test_modules_hold_sinks_as_what_they_are(model: Model) -> None:
    assert list(model.state_dict()) == ["attend.sink"]
    assert follows(model, logits(2))
    held = dict(model.named_parameters()) or dict(model.named_buffers())
    assert isinstance(held["attend.sink"], nn.Parameter) == bool(dict(model.named_parameters()))


@pytest.mark.parametrize("assign", [False, True])
def test_loaded_sinks_take_effect(model: Model, assign: bool) -> None:
    model.load_state_dict({"attend.sink": NEW}, assign=assign)
    assert follows(model, NEW)


def test_functional_calls_use_their_own_sink(model: Model) -> None:
    assert follows(lambda x: torch.func.functional_call(model, {"attend.sink": NEW}, (x,)), NEW)
    assert follows(model, logits(2))


def test_gradients_reach_the_parameter() -> None:
    model = Model(nn.Parameter(logits(2)))
    model(Problem.drawn(12, 12, heads=2, kv_heads=2).query).square().sum().backward()
    assert (model.attend.sink.grad != 0).all()


def test_modules_without_a_sink_have_no_state() -> None:
    attend = attncc.compile(CAUSAL)
    assert attend.sink is None
    assert attend.state_dict() == {}
    attend.sink = nn.Parameter(NEW)
    assert list(attend.state_dict()) == ["sink"]


def test_models_made_on_meta_can_be_loaded(model: Model) -> None:
    held = model.to("meta").to_empty(device="cpu")
    held.load_state_dict({"attend.sink": NEW})
    assert follows(held, NEW)


def test_exported_programs_hold_the_sink(model: Model) -> None:
    x = Problem.drawn(12, 12, heads=2, kv_heads=2).query
    program = torch.export.export(model, (x,))
    assert "attend.sink" in program.state_dict
    torch.testing.assert_close(program.module()(x), model(x))


X = torch.randn(1, 2, 9, 8)
REFUSED = {
    "a number": (1.0, "The sink is a float"),
    "integers": (torch.zeros(2, dtype=torch.long), "torch.int64"),
    "sparse": (torch.zeros(2).to_sparse(), "layout torch.sparse_coo"),
    "another device": (torch.zeros(2, device="meta"), "on meta, query on cpu"),
    "other heads": (torch.zeros(3), r"sink \(3,\), query \(1, 2, 9, 8\)"),
    "heads last": (torch.zeros(1, 9, 2), r"sink \(1, 9, 2\)"),
    "pairs": (torch.zeros(1, 2, 9, 9), r"sink \(1, 2, 9, 9\)"),
    "key heads": (torch.zeros(2, 2), r"sink \(2, 2\)"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_invalid_sinks_are_refused(name: str) -> None:
    sink, says = REFUSED[name]
    with pytest.raises(ShapeError, match=says):
        attncc.attention(X, X, X, CAUSAL, sink=sink)


def test_modules_refuse_invalid_sinks() -> None:
    with pytest.raises(ShapeError, match="floating-point"):
        attncc.compile(CAUSAL, sink=torch.zeros(2, dtype=torch.long))
    with pytest.raises(ShapeError, match=r"sink \(3,\)"):
        attncc.compile(CAUSAL, sink=torch.zeros(3)).planned(X, X, X)
