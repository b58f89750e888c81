"""Steps of decoding: launches made of a list of keys compute what those of passes do, and what the oracle does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import attncc
from attncc.backends.base import Saved
from attncc.backends.torch import lower
from attncc.backends.torch.config import Config
from attncc.backends.torch.execute import TorchExecutable
from attncc.backends.torch.range_launches import range_launches
from attncc.ir.score import IDENTITY
from attncc.testing.strategies import Case, cases


def results(plan: attncc.Plan, tensors: list[torch.Tensor]) -> list[torch.Tensor]:
    """Return out, lse and gradients of a plan on query, key, value, and gradients of out and lse."""
    executable = TorchExecutable(plan, IDENTITY, Config())
    *inputs, grad_out, grad_lse = tensors
    out, lse = executable.forward(*inputs, (), 0.5)
    gradients = executable.backward(Saved(*inputs, (), out, lse), grad_out, grad_lse, 0.5, False)
    return [out, lse.value, *gradients[:3]]


@given(cases(), st.integers(0, 149), st.sampled_from([1, 64]), st.sampled_from([1, 2]))
def test_a_list_of_keys_runs_as_its_passes_do(case: Case, row: int, least_viewed: int, group: int) -> None:
    offset = case.q_offset + row % case.q_len
    listed = attncc.plan(case.pattern, 1, case.kv_len, q_offset=offset, heads=2 * case.heads, batch=case.batch)
    if listed.listed is None:
        return
    laid_out = replace(listed, laid_out=listed.groups, listed=None)
    generator = torch.Generator().manual_seed(row)
    query_sizes, key_sizes = (case.batch, 2 * case.heads, 1), (case.batch, 2 * case.heads // group, case.kv_len)
    sizes = [(*query_sizes, 4), (*key_sizes, 4), (*key_sizes, 4), (*query_sizes, 4), query_sizes]
    tensors = [torch.randn(size, generator=generator, dtype=torch.float64) for size in sizes]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(lower, "LEAST_VIEWED", least_viewed)
        found = results(listed, tensors)
    for x, wanted in zip(found, results(laid_out, tensors), strict=True):
        torch.testing.assert_close(x, wanted)


@attncc.pattern
def own_rows(i, j, *, ids: attncc.Table, lengths: attncc.Table):
    return (ids[i] == ids[j]) & (j < lengths[0])


@given(st.integers(1, 90), st.integers(1, 4), st.randoms(use_true_random=False))
def test_new_lengths_and_tables_give_the_rows_of_the_oracle(kv_len: int, batch: int, draw) -> None:
    ids = np.array([draw.randrange(3) for _ in range(kv_len)])
    lengths = np.array([[draw.randrange(kv_len + 1)] for _ in range(batch)])
    offset = draw.randrange(kv_len)
    leaves = [torch.randn(batch, 2, n, 4, dtype=torch.float64, requires_grad=True) for n in (1, kv_len, kv_len)]
    seen = (ids[offset] == ids) & (np.arange(kv_len) < lengths)
    mask = torch.from_numpy(seen)[:, None, None]
    pattern = own_rows(ids=ids, lengths=lengths)
    out = attncc.attention(*leaves, pattern, q_offset=offset)
    scores = (leaves[0] @ leaves[1].mT / 2).masked_fill(~mask, -torch.inf)
    weights = torch.softmax(scores.masked_fill(~mask.any(-1, keepdim=True), 0.0), -1) * mask
    wanted = weights @ leaves[2]
    torch.testing.assert_close(out, wanted)
    grad = torch.randn_like(out)
    found, expected = (torch.autograd.grad(x, leaves, grad) for x in (out, wanted))
    for x, y in zip(found, expected, strict=True):
        torch.testing.assert_close(x, y)


@attncc.pattern
def within(i, j, *, lengths: attncc.Table):
    return j < lengths[0]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("key_heads", [4, 2, 1])
def test_sequences_that_follow_each_other_with_equal_lengths_share_a_launch(dtype: torch.dtype, key_heads: int) -> None:
    lengths = [5, 5, 0, 1, 9, 5]
    plan = attncc.plan(within(lengths=[[n] for n in lengths]), 1, 9, q_offset=8, batch=6)
    assert plan.listed is not None
    launches = range_launches(plan.listed)
    assert launches is not None
    assert [(entries.start, entries.stop, len(keys)) for entries, keys in launches] == [
        (0, 2, 5),
        (2, 3, 0),
        (3, 4, 1),
        (4, 5, 9),
        (5, 6, 5),
    ]
    generator = torch.Generator().manual_seed(0)
    query, key, value = (
        torch.randn(6, h, n, 8, generator=generator) for h, n in ((4, 1), (key_heads, 9), (key_heads, 9))
    )
    unused = torch.arange(9) >= torch.tensor(lengths)[:, None]
    tensors = [query, *(x.masked_fill(unused[:, None, :, None], torch.nan) for x in (key, value))]
    out, lse = TorchExecutable(plan, IDENTITY, Config()).forward(*(x.to(dtype) for x in tensors), (), -0.5)
    assert out.dtype == dtype
    for b, n in enumerate(lengths):
        q, k, v = (x[b].to(dtype).double() for x in (query, key[:, :, :n], value[:, :, :n]))
        scores = -0.5 * q @ k.repeat_interleave(4 // key_heads, 0).mT
        wanted = torch.softmax(scores, -1) @ v.repeat_interleave(4 // key_heads, 0)
        torch.testing.assert_close(out[b].double(), wanted, atol=2e-2 if dtype == torch.bfloat16 else 1e-5, rtol=1e-2)
        torch.testing.assert_close(lse.value[b].double(), torch.logsumexp(scores, -1), atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize("name", ["sliding_window", "causal", "strided"])
def test_ranges_of_keys_are_views(name: str) -> None:
    pattern = attncc.load(name, **({"window": 100} if name == "sliding_window" else {})).union()
    plan = attncc.plan(pattern, 1, 2000, q_offset=1999)
    assert plan.listed is not None
    for own in plan.listed.lists:
        assert all(tiles.cols.index is None for tiles in lower.listed(own, None))


def test_groups_are_made_when_they_are_asked_for() -> None:
    plan = attncc.plan(attncc.load("causal"), 1, 50, q_offset=49)
    attncc.attention(*(torch.randn(1, 1, n, 4) for n in (1, 50, 50)), attncc.load("causal"), q_offset=49)
    assert "groups" not in plan.__dict__
    assert plan.nnz == 50
    assert "groups" in plan.__dict__
