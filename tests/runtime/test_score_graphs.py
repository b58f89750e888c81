"""Scores in compiled graphs: what is traced, what is constant, and what compiles again."""

from __future__ import annotations

import pytest
import torch
from example_scores import CAUSAL, STRIDED, by_gap, capped, looked_up, sloped, tensors
from torch._dynamo.testing import CompileCounterWithBackend

import attncc
from attncc import Table, Weights


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


@pytest.mark.filterwarnings("ignore")  # of torch.jit.trace, which is deprecated, and warns of sizes that are read
def test_a_traced_function_takes_weights_and_tables_of_a_score_as_inputs() -> None:
    @attncc.score
    def by_bucket(i, j, *, weights: Weights, buckets: Table):
        return weights[buckets[i]] - weights[buckets[j]]

    def attend(x, w, buckets):
        return attncc.attention(x, x, x, CAUSAL, score=by_bucket(weights=w, buckets=buckets).then(by_gap(table=w)))

    x, buckets = tensors()[0], torch.arange(40) // 7
    traced = torch.jit.trace(attend, (x, torch.randn(40), buckets), check_trace=False)
    given = x, torch.randn(40), buckets.flip(0)
    torch.testing.assert_close(traced(*given), attend(*given))


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
