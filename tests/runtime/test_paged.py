"""paged_attention(): results are those of each sequence with its keys laid end to end."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from paged_cases import drawn, in_pages
from sequence_cases import SequenceCase, sequence_cases
from torch import Tensor

import attncc
from attncc.errors import ShapeError
from attncc.runtime.paged import paged_attention
from attncc.testing.oracle import Problem, dense

pytestmark = pytest.mark.timeout(600)

LENGTHS = [40, 17, 0, 9]
SIZE = 8
CAUSAL = attncc.load("causal")
PATTERNS = [
    CAUSAL,
    attncc.load("full"),
    attncc.load("sliding_window", window=5),
    attncc.load("strided", l=4).union(),
    attncc.load("fixed", l=4, c=1).heads(),
    attncc.load("block_diagonal", block=4),
]


@pytest.mark.parametrize("backend", ["torch", "triton", "reference"])
@pytest.mark.parametrize("q_len", [1, 7])
@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: pattern.name)
def test_keys_in_pages_are_those_of_a_cache_without_pages(pattern: attncc.Pattern, q_len: int, backend: str) -> None:
    dtype = torch.float32 if backend == "triton" else torch.float64
    q, k, v = drawn(q_len, dtype)
    (k_cache, table), (v_cache, _) = (in_pages(x, LENGTHS, SIZE) for x in (k, v))
    arguments = {"enable_gqa": True, "return_lse": True}
    out, lse = paged_attention(q, k_cache, v_cache, table, torch.tensor(LENGTHS), pattern, backend=backend, **arguments)
    offsets = [n - q_len for n in LENGTHS]
    query, key, value = (x.double().transpose(1, 2) for x in (q, k, v))
    wanted, wanted_lse = attncc.attention(
        query, key, value, pattern, q_offset=offsets, kv_len=LENGTHS, backend="reference", **arguments
    )
    close = {"rtol": 1e-4, "atol": 1e-4} if dtype == torch.float32 else {"rtol": 1e-9, "atol": 1e-9}
    torch.testing.assert_close(out.double(), wanted.transpose(1, 2), **close)
    torch.testing.assert_close(lse.double(), wanted_lse, **close)


@settings(max_examples=100)
@given(sequence_cases(), st.sampled_from([1, 2, 4, 16]), st.integers(0, 3))
def test_paged_attention_agrees_with_the_oracle(case: SequenceCase, size: int, seed: int) -> None:
    check_drawn(case, size, seed, torch.float64, None)


@settings(max_examples=8)
@given(sequence_cases(), st.sampled_from([1, 2, 4, 16]), st.integers(0, 3))
def test_kernels_on_pages_agree_with_the_oracle(case: SequenceCase, size: int, seed: int) -> None:
    check_drawn(case, size, seed, torch.float32, "triton")


def check_drawn(case: SequenceCase, size: int, seed: int, dtype: torch.dtype, backend: str | None) -> None:
    problem = Problem.drawn(case.q_len, case.kv_len, batch=len(case.lengths), heads=case.heads, kv_heads=1, dtype=dtype)
    (k_cache, table), (v_cache, _) = (
        in_pages(x.transpose(1, 2), case.lengths, size, seed) for x in (problem.key, problem.value)
    )
    out, lse = paged_attention(
        problem.query.transpose(1, 2),
        k_cache,
        v_cache,
        table,
        case.lengths,
        case.pattern,
        q_offset=case.q_offset,
        enable_gqa=True,
        return_lse=True,
        backend=backend,
    )
    wanted = dense(problem.to(torch.float64), torch.tensor(case.mask))
    close = {"rtol": 1e-4, "atol": 1e-4} if dtype == torch.float32 else {"rtol": 1e-9, "atol": 1e-9}
    torch.testing.assert_close(out.transpose(1, 2).double(), wanted.out, **close)
    torch.testing.assert_close(lse.double(), wanted.lse.double(), **close)


@attncc.score
def self_last(score, i, j):
    """A score that changes few pairs, which elsewhere are a part of their own on the torch backend."""
    return attncc.where(i == j, -5e4, score)


@pytest.mark.parametrize("score", [attncc.alibi(slopes=torch.tensor([0.1, 0.2, 0.3, 0.4])), self_last()], ids=repr)
@pytest.mark.parametrize("backend", ["torch", "triton"])
@pytest.mark.parametrize("q_len", [1, 5])
def test_scores_and_sinks_see_positions_and_not_pages(backend: str, q_len: int, score: attncc.Score) -> None:
    q, k, v = drawn(q_len, torch.float32, kv_heads=4, value_dim=6)
    (k_cache, table), (v_cache, _) = (in_pages(x, LENGTHS, SIZE) for x in (k, v))
    given = {
        "score": score,
        "sink": torch.tensor([0.0, 1.0, -1.0, 2.0]),
    }
    window = attncc.load("sliding_window", window=12)
    out = paged_attention(q, k_cache, v_cache, table, LENGTHS, window, backend=backend, **given)
    for b, n in enumerate(LENGTHS):
        own = (x[b : b + 1].transpose(1, 2) for x in (q, k[:, :n], v[:, :n]))
        wanted = attncc.attention(*own, window, q_offset=n - q_len, **given)
        torch.testing.assert_close(out[b : b + 1].transpose(1, 2), wanted, rtol=1e-4, atol=1e-5)


def test_pools_are_padded_once_for_all_sequences(monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v = drawn(1, torch.float64, kv_heads=4, value_dim=6)
    (k_cache, table), (v_cache, _) = (in_pages(x, LENGTHS, SIZE) for x in (k, v))
    padded, pad = [], torch.nn.functional.pad
    monkeypatch.setattr("attncc.backends.torch.execute.pad", lambda x, by: padded.append(x.shape) or pad(x, by))
    out = paged_attention(q, k_cache, v_cache, table, LENGTHS, CAUSAL)
    assert padded == [(1, 4, k_cache.shape[0] * SIZE, 6)]
    wanted = paged_attention(q, k_cache, v_cache, table, LENGTHS, CAUSAL, backend="reference")
    torch.testing.assert_close(out, wanted)


@pytest.mark.parametrize("backend", ["torch", "triton"])
def test_values_may_be_views_of_their_keys(backend: str) -> None:
    """As in latent attention: one pool of compressed keys, of which values are the first columns."""
    q, k, _ = drawn(3, torch.float32, kv_heads=1)
    pool, table = in_pages(k, LENGTHS, SIZE)
    arguments = {"enable_gqa": True, "backend": backend}
    found = paged_attention(q, pool, pool[..., :6], table, LENGTHS, CAUSAL, **arguments)
    wanted = paged_attention(q, pool, pool[..., :6].clone(), table, LENGTHS, CAUSAL, **arguments)
    torch.testing.assert_close(found, wanted)
    assert not found.isnan().any()


def test_sequences_may_share_pages() -> None:
    q, k, v = drawn(1, torch.float64, kv_heads=4)
    (k_cache, table), (v_cache, _) = (in_pages(x, [40], SIZE) for x in (k[:1], v[:1]))
    out = paged_attention(q, k_cache, v_cache, table.expand(4, -1), [40, 24, 16, 8], CAUSAL)
    for b, n in enumerate([40, 24, 16, 8]):
        own = (q[b : b + 1], k[:1, :n], v[:1, :n])
        wanted = attncc.attention(*(x.transpose(1, 2) for x in own), CAUSAL, q_offset=n - 1)
        torch.testing.assert_close(out[b : b + 1].transpose(1, 2), wanted)


def test_only_rows_that_the_plan_visits_are_gathered(monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v = drawn(1, torch.float64, kv_heads=4)
    (k_cache, table), (v_cache, _) = (in_pages(x, LENGTHS, SIZE) for x in (k, v))
    taken = []
    gathered = torch.Tensor.index_select
    monkeypatch.setattr(torch.Tensor, "index_select", lambda x, dim, i: taken.append(len(i)) or gathered(x, dim, i))
    paged_attention(q, k_cache, v_cache, table, LENGTHS, attncc.load("sliding_window", window=12))
    assert sum(taken) <= 2 * sum(min(n, 12) for n in LENGTHS)


def test_a_page_table_that_is_changed_in_place_is_read_again() -> None:
    q, k, v = drawn(1, torch.float64, kv_heads=4)
    (k_cache, table), (v_cache, _) = (in_pages(x, LENGTHS, SIZE) for x in (k, v))
    before = paged_attention(q, k_cache, v_cache, table, LENGTHS, CAUSAL)
    unused = int(np.setdiff1d(np.arange(len(k_cache)), table.flatten())[0])
    k_cache[unused], v_cache[unused] = k_cache[table[3, 0]], v_cache[table[3, 0]]
    k_cache[table[3, 0]] = v_cache[table[3, 0]] = torch.nan
    table[3, 0] = unused
    assert torch.equal(paged_attention(q, k_cache, v_cache, table, LENGTHS, CAUSAL), before)


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"q": torch.zeros(4, 1, 8)}, "q has shape (4, 1, 8)"),
        ({"k_cache": None}, "k_cache is a NoneType"),
        ({"k_cache": torch.zeros(23, 4, 4, 8)}, "k_cache has shape (23, 4, 4, 8), v_cache (23, 8, 4, 8)"),
        ({"block_table": torch.zeros(3, 5, dtype=torch.int32)}, "block_table has shape (3, 5) and dtype int64"),
        ({"block_table": torch.zeros(4, 5)}, "block_table has shape (4, 5) and dtype float32"),
        ({"block_table": torch.zeros(4, 4, dtype=torch.int32)}, "cache_seqlens has 40, and block_table 4 pages of 8"),
        ({"block_table": torch.full((4, 5), 23)}, "block_table[0, 0] is 23, of 23 pages"),
        ({"block_table": torch.full((4, 5), -1)}, "block_table[0, 0] is -1, of 23 pages, and sequence 0 has 40 keys"),
        ({"cache_seqlens": [40, 17, 0]}, "cache_seqlens has shape (3,), and there are 4 batch entries"),
        ({"cache_seqlens": [40, 17, 0, -1]}, "cache_seqlens has shape (4,) and entries from -1 to 40"),
        ({"cache_seqlens": [40, 17, 0, 0.5]}, "cache_seqlens has shape (4,) and dtype float64"),
        ({"q_offset": [1]}, "q_offset has shape (1,), and there are 4 batch entries"),
    ],
)
def test_arguments_that_fit_no_pool_are_refused(changed, problem: str) -> None:
    q, k, v = drawn(1, torch.float32, kv_heads=4)
    (k_cache, table), (v_cache, _) = (in_pages(x, LENGTHS, SIZE) for x in (k, v))
    given = {"q": q, "k_cache": k_cache, "v_cache": v_cache, "block_table": table, "cache_seqlens": LENGTHS}
    with pytest.raises(ShapeError) as refused:
        paged_attention(**{**given, "pattern": CAUSAL} | changed)
    assert problem in refused.value.problem
    assert refused.value.rule
    assert refused.value.fix


@pytest.mark.parametrize("batch_invariant", [False, True])
@pytest.mark.parametrize("batch", [0, 2])
def test_sequences_without_pages_are_none_or_have_no_keys(batch: int, batch_invariant: bool) -> None:
    q, pool = torch.ones(batch, 3, 4, 8), torch.ones(5, SIZE, 4, 8)
    table, lengths = torch.zeros(batch, 0, dtype=torch.int32), [0] * batch
    out, lse = paged_attention(q, pool, pool, table, lengths, CAUSAL, return_lse=True, batch_invariant=batch_invariant)
    assert torch.equal(out, torch.zeros(batch, 3, 4, 8))
    assert torch.equal(lse, torch.full((batch, 4, 3), -torch.inf))


def laid_out(x: Tensor, table: Tensor, n: int) -> Tensor:
    """Return a sequence's rows of a pool of (pages, size, H, D) one after another, (1, H, n, D), page by page."""
    return torch.cat([x[page] for page in table.tolist() if page >= 0] or [x[0, :0]])[:n].transpose(0, 1)[None]


GRADIENTS = [
    (["torch", "reference"], torch.float64, 1e-9),
    (["triton"], torch.float32, 1e-4),
]


@pytest.mark.parametrize(("backend", "dtype", "error"), [(name, *rest) for names, *rest in GRADIENTS for name in names])
@pytest.mark.parametrize("q_len", [1, 7])
def test_gradients_are_those_of_pages_laid_end_to_end(
    backend: str, dtype: torch.dtype, error: float, q_len: int
) -> None:
    """Two sequences begin with the same pages, whose gradients add up."""
    lengths, shared = [40, 37, 0, 9], 2
    q, k, v = drawn(q_len, dtype, value_dim=6)
    (k_cache, table), (v_cache, _) = (in_pages(x, lengths, SIZE) for x in (k, v))
    table[1, :shared] = table[0, :shared]
    slopes = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=dtype)
    leaves = [x.requires_grad_() for x in (q, k_cache, v_cache, slopes)]
    arguments = {"enable_gqa": True, "return_lse": True}
    window = attncc.load("sliding_window", window=12)
    weights, generator = {"slopes": slopes}, torch.Generator().manual_seed(1)
    out, lse = paged_attention(
        q, k_cache, v_cache, table, lengths, window, score=attncc.alibi, weights=weights, backend=backend, **arguments
    )
    grad_out, grad_lse = torch.randn(out.shape, generator=generator), torch.randn(lse.shape, generator=generator)
    found = torch.autograd.grad((out * grad_out).sum() + (lse * grad_lse)[lse > -torch.inf].sum(), leaves)
    wide = [x.detach().double().requires_grad_() for x in leaves]
    loss = torch.zeros((), dtype=torch.float64)
    for b, n in enumerate(lengths):
        own = wide[0][b : b + 1].transpose(1, 2), *(laid_out(x, table[b], n) for x in wide[1:3])
        one, one_lse = attncc.attention(
            *own,
            window,
            score=attncc.alibi,
            weights={"slopes": wide[3]},
            q_offset=n - q_len,
            backend="reference",
            **arguments,
        )
        seen = one_lse > -torch.inf
        loss = loss + (one.transpose(1, 2) * grad_out[b]).sum() + (one_lse * grad_lse[b])[seen].sum()
    for gradient, wanted in zip(found, torch.autograd.grad(loss, wide), strict=True):
        torch.testing.assert_close(gradient.double(), wanted, rtol=error, atol=error)


@settings(max_examples=25)
@given(sequence_cases(), st.sampled_from([1, 4, 16]), st.integers(0, 3))
def test_drawn_gradients_agree_with_the_oracle(case: SequenceCase, size: int, seed: int) -> None:
    problem = Problem.drawn(
        case.q_len, case.kv_len, batch=len(case.lengths), heads=case.heads, kv_heads=1, dtype=torch.float64
    )
    pools, tables = zip(
        *(in_pages(x.transpose(1, 2), case.lengths, size, seed) for x in (problem.key, problem.value)), strict=True
    )
    leaves = [x.requires_grad_() for x in (problem.query.transpose(1, 2).contiguous(), *pools)]
    out = paged_attention(
        *leaves, tables[0], case.lengths, case.pattern, q_offset=case.q_offset, enable_gqa=True, backend="torch"
    )
    d_query, *d_pools = torch.autograd.grad((out * problem.grad_out.transpose(1, 2)).sum(), leaves)
    wanted = dense(replace(problem, grad_lse=torch.zeros_like(problem.grad_lse)), torch.tensor(case.mask))
    torch.testing.assert_close(d_query.transpose(1, 2), wanted.d_query, rtol=1e-9, atol=1e-9)
    for gradient, expected in zip(d_pools, (wanted.d_key, wanted.d_value), strict=True):
        for b, n in enumerate(case.lengths):
            own = laid_out(gradient, tables[0][b], n)[0]
            torch.testing.assert_close(own, expected[b, :, :n], rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(gradient.sum((0, 1)), expected.sum((0, 2)), rtol=1e-9, atol=1e-9)


def test_a_step_without_gradients_copies_no_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v = drawn(1, torch.float64, kv_heads=4)
    own = (in_pages(x, LENGTHS, SIZE, seed=11) for x in (k, v))  # pages whose rows no other test has asked for
    (k_cache, table), (v_cache, _) = own
    monkeypatch.setattr("attncc.frontend.pages.Pages.all_rows", None)
    with torch.inference_mode():
        paged_attention(q.requires_grad_(), k_cache, v_cache, table, LENGTHS, CAUSAL)
    with pytest.raises(TypeError):
        paged_attention(q, k_cache, v_cache, table, LENGTHS, CAUSAL)


@pytest.mark.parametrize("backend", ["torch", "triton", "reference"])
@pytest.mark.parametrize("with_gradient", [False, True])
def test_the_greatest_scores_are_those_of_pages_laid_end_to_end(backend: str, with_gradient: bool) -> None:
    q, k, v = drawn(3, torch.float32)
    (k_cache, table), (v_cache, _) = (in_pages(x, LENGTHS, SIZE) for x in (k, v))
    given = {"enable_gqa": True, "return_max_scores": True}
    window = attncc.load("sliding_window", window=12)
    paged = (q.requires_grad_(with_gradient), k_cache, v_cache, table, LENGTHS, window)
    _, found = paged_attention(*paged, backend=backend, **given)
    _, alone = paged_attention(*paged, backend=backend, batch_invariant=True, **given)
    for b, n in enumerate(LENGTHS):
        own = (x[b : b + 1].transpose(1, 2) for x in (q, k[:, :n], v[:, :n]))
        _, wanted = attncc.attention(*own, window, q_offset=n - 3, backend="reference", **given)
        torch.testing.assert_close(found[b : b + 1], wanted)
        torch.testing.assert_close(alone[b : b + 1], wanted)
    assert not found.requires_grad
