"""varlen_attention() under scores and sinks, and in graphs that have the documents as inputs."""

from __future__ import annotations

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend
from varlen_cases import (
    CAUSAL,
    HEADS,
    LENGTHS,
    SLOPES,
    WINDOW,
    by_document,
    check_close,
    drawn,
    ends,
    gradients,
)

import attncc
from attncc.errors import TableError

pytestmark = pytest.mark.timeout(600)


@attncc.score
def by_gap(score, i, j, *, bias: attncc.Weights):
    return score + bias[i - j]


@attncc.score
def of_lengths(score, i, j, n_q, n_k, *, temperature: attncc.Weights):
    return attncc.where(2 * j < n_k, score * temperature, score + (i - j) / n_q)


@attncc.score
def of_document(score, b, h, *, shift: attncc.Weights):
    return attncc.tanh(score) * shift[b, h]


BIAS = torch.linspace(-1, 1, 17, dtype=torch.float64)
SHIFT = torch.linspace(-2, 2, 5 * HEADS, dtype=torch.float64).reshape(5, HEADS)
SCORES = {
    "alibi": (attncc.alibi, {"slopes": SLOPES}, lambda w, s, d, i, j: s - w["slopes"][:, None, None] * (i - j).abs()),
    "by gap": (by_gap, {"bias": BIAS}, lambda w, s, d, i, j: s + w["bias"][(i - j).clip(0)]),
    "of lengths": (
        of_lengths,
        {"temperature": torch.tensor(0.7, dtype=torch.float64)},
        lambda w, s, d, i, j: torch.where(2 * j < len(j), s * w["temperature"], s + (i - j).double() / max(1, len(i))),
    ),
    "of documents": (of_document, {"shift": SHIFT}, lambda w, s, d, i, j: s.tanh() * w["shift"][d][:, None, None]),
}


@pytest.mark.parametrize("backend", ["torch", "triton"])
@pytest.mark.parametrize("name", SCORES)
def test_scores_see_a_documents_own_positions(name: str, backend: str) -> None:
    declared, weights, formula = SCORES[name]
    dtype = torch.float32 if backend == "triton" else torch.float64
    found, exact = drawn(dtype=dtype), drawn()
    given, known = (
        {n: x.to(t, copy=True).requires_grad_() for n, x in weights.items()} for t in (dtype, torch.float64)
    )
    out, lse = attncc.varlen_attention(
        *found, *map(ends, LENGTHS), CAUSAL, score=declared, weights=given, return_lse=True, backend=backend
    )
    wanted = by_document(*exact, lambda d, i, j: j <= i, formula=lambda s, d, i, j: formula(known, s, d, i, j))
    found_gradients = gradients(out, lse, [*found, *given.values()])
    check_close([out, lse, *found_gradients], [*wanted, *gradients(*wanted, [*exact, *known.values()])], dtype)


def test_a_sink_is_a_term_of_each_document_and_a_mask_mod_is_a_pattern() -> None:
    q, k, v = drawn()
    sink = torch.linspace(-1, 1, HEADS, dtype=torch.float64).requires_grad_()
    packed = ends(LENGTHS[0]), ends(LENGTHS[1])
    found = attncc.varlen_attention(q, k, v, *packed, lambda b, h, i, j: j <= i, sink=sink)
    out, lse = attncc.varlen_attention(q, k, v, *packed, CAUSAL, return_lse=True)
    wanted = out * torch.sigmoid(lse - sink.unsqueeze(-1)).T.unsqueeze(-1)  # what the keys keep
    given = q, k, v, sink
    for one, other in zip(*(torch.autograd.grad(x.square().sum(), given) for x in (found, wanted)), strict=True):
        torch.testing.assert_close(one, other)


GRAPH_CASES = [LENGTHS, ([9, 1, 6, 8, 8], [7, 8, 0, 11, 6]), ([4, 9], [5, 8])]


def test_documents_are_inputs_of_graphs() -> None:
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")
    patterns = WINDOW, attncc.load("strided", l=4).union()
    of_positions = attncc.alibi(slopes=SLOPES.clone().requires_grad_()).then(of_lengths(temperature=torch.tensor(0.7)))
    scores = attncc.softcap(cap=4.0), of_positions

    def call(q, k, v, ends_q, ends_k):
        near, strided = (
            attncc.varlen_attention(q, k, v, ends_q, ends_k, pattern, score=score)
            for pattern, score in zip(patterns, scores, strict=True)
        )
        return near + strided

    compiled = torch.compile(call, fullgraph=True, backend=counter)
    for lengths in GRAPH_CASES:
        inputs, given = drawn(lengths=lengths), [*map(ends, lengths)]
        found, wanted = compiled(*inputs, *given), call(*inputs, *given)
        torch.testing.assert_close(found, wanted)
        grads = [torch.autograd.grad(x.square().sum(), inputs) for x in (found, wanted)]
        torch.testing.assert_close(*grads)
    assert counter.frame_count == 2


def test_a_graph_has_documents_of_the_same_queries_and_keys() -> None:
    torch._dynamo.reset()
    inputs, cu_seqlens = drawn(lengths=(LENGTHS[0],) * 2), ends(LENGTHS[0])

    @attncc.score
    def first_used_in_a_graph(i, j, *, weights: attncc.Weights):
        return weights[attncc.minimum(abs(i - j), 3)]

    def run(*tensors):
        score = first_used_in_a_graph(weights=BIAS)
        return attncc.varlen_attention(*tensors, None, WINDOW, score=score)

    compiled = torch.compile(run, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(*inputs, cu_seqlens), run(*inputs, cu_seqlens))


def test_ends_that_fit_no_tokens_are_refused_in_a_graph() -> None:
    torch._dynamo.reset()
    run = torch.compile(attncc.varlen_attention, backend="aot_eager", fullgraph=True)
    inputs, (queries, keys) = [x.detach() for x in drawn()], map(ends, LENGTHS)
    run(*inputs, queries, keys, CAUSAL)
    with pytest.raises(RuntimeError, match="cu_seqlens_k doesn't rise from 0 to the number of tokens"):
        run(*inputs, queries, keys.flip(0), CAUSAL)
    with pytest.raises(TableError, match="Weights 'bias' have 17 entries"):  # the longest document may have more keys
        run(*inputs, queries, keys, CAUSAL, score=SCORES["by gap"][0](bias=BIAS))
