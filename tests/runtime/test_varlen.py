"""varlen_attention(): outputs and gradients are those of each document on its own."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from packed_cases import PackedCase, packed_cases
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend

import attncc
from attncc.errors import AttnccError, ScoreError, ShapeError, TableError
from attncc.frontend import documents
from attncc.runtime import varlen
from attncc.testing.check import check_attention
from attncc.testing.oracle import Problem
from attncc.testing.score_strategies import score_cases

pytestmark = pytest.mark.timeout(600)

CAUSAL = attncc.load("causal")
WINDOW = attncc.load("sliding_window", window=5)
#: Lengths of queries and keys of documents: some longer, some empty.
LENGTHS = ([5, 0, 17, 1, 9], [8, 4, 17, 0, 3])
DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
HEADS, HEAD_DIM, VALUE_DIM = 4, 8, 6


def ends(lengths: list[int]) -> Tensor:
    return torch.tensor([0, *np.cumsum(lengths)], dtype=torch.int32)


def drawn(kv_heads: int = HEADS, dtype: torch.dtype = torch.float64, lengths=LENGTHS) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    sizes = [(sum(lengths[0]), HEADS, HEAD_DIM), (sum(lengths[1]), kv_heads, HEAD_DIM)]
    sizes.append((sum(lengths[1]), kv_heads, VALUE_DIM))
    made = (torch.randn(size, generator=generator, dtype=torch.float64) for size in sizes)
    return [x.to(dtype).requires_grad_() for x in made]


def by_document(q: Tensor, k: Tensor, v: Tensor, mask_of, lengths=LENGTHS, formula=lambda scores, d, i, j: scores):
    """Return (out, lse) of dense attention in a loop over documents, the last query at the last key's position."""
    group, scale = q.shape[1] // k.shape[1], q.shape[2] ** -0.5
    outs, lses = [], []
    for d, (q_d, k_d, v_d) in enumerate(
        zip(q.split(lengths[0]), k.split(lengths[1]), v.split(lengths[1]), strict=True)
    ):
        k_d, v_d = k_d.repeat_interleave(group, 1), v_d.repeat_interleave(group, 1)
        i = torch.arange(len(q_d))[:, None] + len(k_d) - len(q_d)
        j = torch.arange(len(k_d))
        scores = formula(torch.einsum("qhd,khd->hqk", q_d, k_d) * scale, d, i, j)
        scores = scores.masked_fill(~mask_of(d, i, j), -math.inf)
        lse = scores.logsumexp(-1) if len(k_d) else scores.new_full(scores.shape[:2], -math.inf)
        weights = (scores - lse.masked_fill(lse == -math.inf, 0.0)[..., None]).exp()
        outs.append(torch.einsum("hqk,khd->qhd", weights, v_d))
        lses.append(lse)
    return torch.cat(outs), torch.cat(lses, 1)


def gradients(out: Tensor, lse: Tensor, inputs: list[Tensor]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    d_out, d_lse = (torch.randn(x.shape, generator=generator, dtype=torch.float64) for x in (out, lse))
    loss = (out * d_out.to(out)).sum() + (lse * d_lse.to(lse))[lse > -math.inf].sum()
    return list(torch.autograd.grad(loss, inputs, materialize_grads=True))


def check_close(found: list[Tensor], wanted: list[Tensor], dtype: torch.dtype) -> None:
    tolerance = 64 * torch.finfo(dtype).eps
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a.double(), b.double(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("backend", ["torch", "triton", "reference"])
@pytest.mark.parametrize("kv_heads", [HEADS, 2])
def test_causal_documents_are_those_of_a_loop(backend: str, kv_heads: int) -> None:
    dtype = torch.float32 if backend == "triton" else torch.float64
    found, exact = drawn(kv_heads, dtype), drawn(kv_heads)
    cu_q, cu_k = map(ends, LENGTHS)
    out, lse = attncc.varlen_attention(
        *found, cu_q, cu_k, CAUSAL, enable_gqa=kv_heads != HEADS, return_lse=True, backend=backend
    )
    wanted = by_document(*exact, lambda d, i, j: j <= i)
    assert out.shape == (sum(LENGTHS[0]), HEADS, VALUE_DIM)
    assert lse.shape == (HEADS, sum(LENGTHS[0]))
    check_close([out, lse, *gradients(out, lse, found)], [*wanted, *gradients(*wanted, exact)], dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_documents_have_the_tensors_dtype(dtype: torch.dtype) -> None:
    cu_q, cu_k = map(ends, LENGTHS)
    found = drawn(dtype=dtype)
    out, lse = attncc.varlen_attention(*found, cu_q, cu_k, WINDOW, scale=8**-0.5, return_lse=True)
    assert out.dtype == dtype
    exact = [x.detach().double().requires_grad_() for x in found]
    wanted = by_document(*exact, lambda d, i, j: (j <= i) & (i - j < 5))
    check_close([out, *gradients(out, lse, found)], [wanted[0], *gradients(*wanted, exact)], dtype)


@pytest.mark.parametrize(
    "pattern", [CAUSAL, WINDOW, attncc.load("strided", l=3), attncc.load("fixed", l=4, c=2)], ids=str
)
def test_each_document_is_what_attention_returns_for_it_alone(pattern: attncc.Pattern) -> None:
    q, k, v = drawn()
    cu_q, cu_k = map(ends, LENGTHS)
    out, lse = attncc.varlen_attention(q, k, v, cu_q, cu_k, pattern, return_lse=True)
    for d in range(len(cu_q) - 1):
        rows, keys = slice(cu_q[d], cu_q[d + 1]), slice(cu_k[d], cu_k[d + 1])
        own = [x[part].transpose(0, 1)[None] for x, part in ((q, rows), (k, keys), (v, keys))]
        offset = int(LENGTHS[1][d] - LENGTHS[0][d])
        wanted, wanted_lse = attncc.attention(*own, pattern, q_offset=offset, return_lse=True)
        torch.testing.assert_close(out[rows], wanted[0].transpose(0, 1))
        torch.testing.assert_close(lse[:, rows], wanted_lse[0])


def test_queries_and_keys_are_the_same_tokens_without_ends_of_keys() -> None:
    lengths = ([7, 0, 12], [7, 0, 12])
    q, k, v = drawn(lengths=lengths)
    out = attncc.varlen_attention(q, k, v, ends(lengths[0]), None, CAUSAL)
    assert torch.equal(out, attncc.varlen_attention(q, k, v, ends(lengths[0]), ends(lengths[1]), CAUSAL))


@pytest.mark.parametrize("lengths", [([], []), ([0], [0]), ([4, 0], [0, 0]), ([0], [6]), ([2, 3], [0, 0])], ids=str)
def test_queries_without_keys_give_nothing(lengths: tuple[list[int], list[int]]) -> None:
    inputs = drawn(lengths=lengths)
    out, lse = attncc.varlen_attention(*inputs, *map(ends, lengths), CAUSAL, return_lse=True)
    assert not out.any()
    assert (lse == -math.inf).all()
    assert not any(gradient.any() for gradient in gradients(out, lse, inputs))


@settings(max_examples=100)
@given(packed_cases(), st.sampled_from(DTYPES), st.data())
def test_packed_attention_and_gradients_agree_with_the_oracle(
    case: PackedCase, dtype: torch.dtype, data: st.DataObject
) -> None:
    check_attention(case.documents.pattern(case.pattern), mask_of(case), problem_for(case, dtype, data))


@settings(max_examples=60)
@given(packed_cases(), st.data())
def test_packed_scores_and_all_gradients_agree_with_the_oracle(case: PackedCase, data: st.DataObject) -> None:
    check_scored(case, torch.float64, None, data)


@settings(max_examples=6)
@given(packed_cases(), st.data())
def test_packed_kernels_and_all_gradients_agree_with_the_oracle(case: PackedCase, data: st.DataObject) -> None:
    check_scored(case, torch.float32, "triton", data)


def check_scored(case: PackedCase, dtype: torch.dtype, backend: str | None, data: st.DataObject) -> None:
    scored = data.draw(score_cases(case, case.heads))
    problem = problem_for(case, dtype, data).with_weights(scored.weights)
    pattern, score = case.documents.pattern(case.pattern), case.documents.score(scored.score)
    check_attention(pattern, mask_of(case), problem, score=score, formula=scored.formula, backend=backend)


def mask_of(case: PackedCase) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(case.mask))


def problem_for(case: PackedCase, dtype: torch.dtype, data: st.DataObject) -> Problem:
    return Problem.drawn(
        case.documents.q_len,
        case.documents.kv_len,
        heads=case.heads,
        kv_heads=data.draw(st.sampled_from([1, case.heads])),
        head_dim=data.draw(st.sampled_from([1, 8, 24])),
        value_dim=data.draw(st.sampled_from([8, 17])),
        dtype=dtype,
    )


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
SLOPES = torch.linspace(0.1, 0.4, HEADS, dtype=torch.float64)
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


def test_gradients_come_after_documents_have_been_forgotten() -> None:
    inputs = drawn()
    cu_q, cu_k = map(ends, LENGTHS)
    out = attncc.varlen_attention(*inputs, cu_q, cu_k, CAUSAL, score=attncc.alibi(slopes=SLOPES))
    varlen._documents.cache_clear()
    documents._packed.cache_clear()
    del cu_q, cu_k
    assert all(x.isfinite().all() for x in torch.autograd.grad(out.sum(), inputs))


def test_ends_that_are_changed_in_place_are_read_again() -> None:
    q, k, v = drawn(lengths=([6, 6], [6, 6]))
    changed = ends([6, 6])
    attncc.varlen_attention(q, k, v, changed, None, CAUSAL)
    changed[1] = 4
    out = attncc.varlen_attention(q, k, v, changed, None, CAUSAL)
    assert torch.equal(out, attncc.varlen_attention(q, k, v, ends([4, 8]), None, CAUSAL))


def test_equal_ends_are_of_the_same_documents(monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v = drawn(lengths=([3, 9], [3, 9]))
    attncc.varlen_attention(q, k, v, ends([3, 9]), None, CAUSAL)
    monkeypatch.setattr("attncc.runtime.varlen.Documents", None)  # nothing is made
    attncc.varlen_attention(q, k, v, ends([3, 9]).long(), ends([3, 9]), CAUSAL)


def test_longest_lengths_may_be_given() -> None:
    q, k, v = drawn()
    cu_q, cu_k = map(ends, LENGTHS)
    attncc.varlen_attention(q, k, v, cu_q, cu_k, CAUSAL, max_seqlen_q=17, max_seqlen_k=100)
    with pytest.raises(ShapeError, match="max_seqlen_q=16, and the longest document has 17"):
        attncc.varlen_attention(q, k, v, cu_q, cu_k, CAUSAL, max_seqlen_q=16)
    with pytest.raises(ShapeError, match=r"max_seqlen_k=17\.5"):
        attncc.varlen_attention(q, k, v, cu_q, cu_k, CAUSAL, max_seqlen_k=17.5)


@pytest.mark.parametrize(
    ("changed", "kind", "problem"),
    [
        ({"q": torch.zeros(31, 4, 8)}, ShapeError, "q has shape (31, 4, 8), and the documents have 32 queries"),
        ({"q": torch.zeros(1, 4, 32, 8)}, ShapeError, "q has shape (1, 4, 32, 8)"),
        ({"k": torch.zeros(30, 4, 8)}, ShapeError, "k has shape (30, 4, 8), and the documents have 32 keys"),
        ({"v": torch.zeros(33, 4, 8)}, ShapeError, "v has shape (33, 4, 8)"),
        ({"v": None}, ShapeError, "v is a NoneType"),
        ({"q": torch.zeros(32, 4, 6)}, ShapeError, "(1, 4, 32, 6)"),
        ({"cu_seqlens_q": None}, ShapeError, "cu_seqlens_q is a NoneType"),
        ({"cu_seqlens_k": [0, 32]}, ShapeError, "cu_seqlens_k is a list"),
        ({"cu_seqlens_q": torch.tensor([0, 32])}, ShapeError, "cu_seqlens_q has 2 entries, cu_seqlens_k 6"),
        ({"cu_seqlens_q": torch.tensor([0.0, 32.0])}, ShapeError, "cu_seqlens_q has shape (2,) and dtype float32"),
        ({"cu_seqlens_q": torch.tensor([0, 9, 3, 32])}, ShapeError, "cu_seqlens_q falls from 9 to 3"),
        ({"cu_seqlens_k": torch.empty(6, dtype=torch.int32, device="meta")}, TableError, "meta"),
        ({"pattern": 3}, AttnccError, "3"),
        ({"score": 3}, ScoreError, "3"),
    ],
)
def test_tensors_that_fit_no_documents_are_refused(changed, kind: type[AttnccError], problem: str) -> None:
    q, k, v = (x.detach() for x in drawn(dtype=torch.float32))
    cu_q, cu_k = map(ends, LENGTHS)
    given = {"q": q, "k": k, "v": v, "cu_seqlens_q": cu_q, "cu_seqlens_k": cu_k, "pattern": CAUSAL} | changed
    with pytest.raises(kind) as refused:
        attncc.varlen_attention(**given)
    assert problem in refused.value.problem
    assert refused.value.rule
    assert refused.value.fix


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


@attncc.pattern
def by_gap(i, j, *, seen: attncc.Table):
    return (i >= j) & (i - j < 20) & seen[i - j]


@attncc.pattern
def narrow(i, j, b, *, width: attncc.Table):
    return (i - j < width[b]) & (j <= i)


@pytest.fixture
def left_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take every `cu_seqlens` for one on a GPU, which isn't read."""
    monkeypatch.setattr("attncc.runtime.packed_columns._is_left_there", lambda x: True)
    monkeypatch.setattr("attncc.runtime.varlen._documents", None)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
@pytest.mark.parametrize(
    "pattern", [CAUSAL, WINDOW, attncc.load("strided", l=4).union(), narrow(width=[1, 2, 3, 4, 5])], ids=str
)
def test_documents_that_are_left_there_are_those_of_the_host(
    pattern: attncc.Pattern, dtype: torch.dtype, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    inputs, given = drawn(kv_heads=2, dtype=torch.float32), [ends(LENGTHS[0]), ends(LENGTHS[1]).to(dtype)]
    options = {"backend": "triton", "enable_gqa": True, "return_lse": True}
    wanted = attncc.varlen_attention(*inputs, *given, pattern, **options)
    wanted = [*wanted, *gradients(*wanted, inputs)]
    request.getfixturevalue("left_there")
    found = attncc.varlen_attention(*inputs, *given, pattern, **options)
    check_close([*found, *gradients(*found, inputs)], wanted, torch.float32)
    assert "read on the host" not in caplog.text or pattern.name == "narrow"  # whose table is looked up by a table
    given[0].copy_(ends([0, 5, 9, 8, 10]))
    again = attncc.varlen_attention(*inputs, *given, pattern, **options)
    assert not torch.equal(again[0], found[0])


def test_documents_that_no_device_binds_are_read(left_there: None) -> None:
    inputs, given = drawn(dtype=torch.float32), [*map(ends, LENGTHS)]
    for options in (
        {"pattern": CAUSAL, "backend": "torch"},
        {"pattern": CAUSAL, "backend": "triton", "score": attncc.alibi(slopes=SLOPES.float())},
        {"pattern": by_gap(seen=[True] * 20), "backend": "triton"},
    ):
        with pytest.raises(TypeError, match="NoneType"):  # the host's documents
            attncc.varlen_attention(*inputs, *given, **options)


def test_ends_that_are_left_there_are_checked_where_that_is_asked_for(
    left_there: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs, wrong = drawn(dtype=torch.float32), ends(LENGTHS[0]) + 1
    attncc.varlen_attention(*inputs, wrong, ends(LENGTHS[1]), CAUSAL, backend="triton")
    monkeypatch.setenv("ATTNCC_CHECK", "1")
    with pytest.raises(RuntimeError, match="cu_seqlens_q doesn't rise"):
        attncc.varlen_attention(*inputs, wrong.clone(), ends(LENGTHS[1]), CAUSAL, backend="triton")


def test_documents_that_are_made_before_are_traced() -> None:
    inputs = [x.detach().transpose(0, 1)[None] for x in drawn(dtype=torch.float32)]
    documents = attncc.Documents(*map(ends, LENGTHS))
    pattern, score = documents.pattern(CAUSAL), documents.score(attncc.alibi(slopes=SLOPES.float()))

    def run(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return attncc.attention(q, k, v, pattern, score=score)

    torch.testing.assert_close(torch.compile(run, backend="eager", fullgraph=True)(*inputs), run(*inputs))
