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
from varlen_cases import (
    CAUSAL,
    HEADS,
    LENGTHS,
    SLOPES,
    VALUE_DIM,
    WINDOW,
    by_document,
    check_close,
    drawn,
    ends,
    gradients,
)

import attncc
from attncc.errors import AttnccError, ScoreError, ShapeError, TableError
from attncc.frontend import documents
from attncc.runtime import varlen
from attncc.testing.check import check_attention
from attncc.testing.oracle import Problem
from attncc.testing.score_strategies import score_cases

pytestmark = pytest.mark.timeout(600)

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]


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
    monkeypatch.setattr("attncc.ir.tables._is_left_there", lambda x: True)
    monkeypatch.setattr("attncc.runtime.varlen._documents", None)


SHORT = [4, 9], [5, 8]


@attncc.score
def biased_by_gap(score, i, j, *, bias: attncc.Weights):
    return score + bias[i - j]


@attncc.score
def of_lengths(score, i, j, h, n_k, *, slopes: attncc.Weights):
    return attncc.where(2 * j < n_k, score * slopes[h], score + (i - j) / 8)


def test_scores_of_documents_that_are_left_there_are_those_of_the_host(
    request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs, given = drawn(lengths=SHORT, dtype=torch.float32), [*map(ends, SHORT)]
    score = of_lengths(slopes=SLOPES.float().requires_grad_())
    options = {"backend": "triton", "return_lse": True, "score": score}
    leaves = [*inputs, *score.tensors]
    wanted = attncc.varlen_attention(*inputs, *given, CAUSAL, **{**options, "backend": "torch"})
    wanted = [*wanted, *gradients(*wanted, leaves)]
    request.getfixturevalue("left_there")
    monkeypatch.setattr("attncc.ir.tables.as_array", None)  # which reads on the host
    found = attncc.varlen_attention(*inputs, *given, CAUSAL, **options)
    check_close([*found, *gradients(*found, leaves)], wanted, torch.float32)
    monkeypatch.setattr("attncc.runtime.device_tables.prepare", None)  # of tensors that don't change it is kept
    assert torch.equal(attncc.varlen_attention(*inputs, *given, CAUSAL, **options)[0], found[0])
    assert "read on the host" not in caplog.text


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
        {"pattern": CAUSAL, "backend": "triton", "score": biased_by_gap(bias=torch.zeros(17))},
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
