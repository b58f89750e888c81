"""Reformer (Kitaev et al. 2020): its patterns, its hashes, and attention by them."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import attncc
from attncc import ParameterError, ShapeError
from attncc.testing import check_pattern
from attncc_reformer import places
from attncc_reformer.attention import lsh_attention
from attncc_reformer.hashing import default_buckets, hashed, rotations, sorted_chunks

lsh, lsh_chunks, others = (attncc.factory(name) for name in ("lsh", "lsh_chunks", "others"))


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def buckets_of(*shape: int, buckets: int = 8) -> Tensor:
    return hashed(drawn(*shape, 8), rotations(8, buckets, 1, generator=generator(), dtype=torch.float64))[0]


@pytest.mark.parametrize("causal", [False, True])
def test_patterns_conform(causal: bool) -> None:
    own, chunks = buckets_of(2, 2, 67), sorted_chunks(buckets_of(67), 8)
    for pattern in (lsh(queries=own, keys=own) & others(), lsh_chunks(chunks=chunks, count=9)):
        check_pattern(pattern.causal() if causal else pattern, lengths=(67,))
    rounds = [buckets_of(67), buckets_of(67, buckets=4)]
    either = lsh(queries=rounds[0], keys=rounds[0]) | lsh(queries=rounds[1], keys=rounds[1])
    check_pattern(either, lengths=(67,))


def test_a_hash_is_the_nearest_axis_of_the_rotated_space() -> None:
    x, [turn] = drawn(2, 3, 20, 8), rotations(8, 6, 4, generator=generator(), dtype=torch.float64)
    found = hashed(x, [turn])
    turned = torch.einsum("bhnd,rdk->rbhnk", x, turn)
    assert torch.equal(found, torch.cat([turned, -turned], -1).argmax(-1))
    assert torch.equal(hashed(3.5 * x, [turn]), found)
    pairs = hashed(x, rotations(8, (6, 4), 4, generator=generator(), dtype=torch.float64))
    assert pairs.max() < 24
    assert torch.equal(pairs // 4, found)


def test_near_vectors_share_more_buckets_than_far_ones() -> None:
    x, turns = drawn(200, 16), rotations(16, 8, 32, generator=generator(), dtype=torch.float64)
    own, near, far = (hashed(y, turns) for y in (x, x + 0.1 * drawn(200, 16, seed=1), drawn(200, 16, seed=1)))
    assert (own == near).double().mean() > 0.8
    assert (own == far).double().mean() < 0.2


@pytest.mark.parametrize(("n", "chunk"), [(64, 8), (67, 8), (5, 8), (1, 1)])
def test_chunks_cut_the_stable_order_by_bucket(n: int, chunk: int) -> None:
    buckets = buckets_of(3, n)
    for row, chunks in zip(buckets.tolist(), sorted_chunks(buckets, chunk).tolist(), strict=True):
        order = sorted(range(n), key=lambda t: (row[t], t))
        assert chunks == [order.index(t) // chunk for t in range(n)]


def seen(buckets: Tensor, chunk: int | None, causal: bool) -> Tensor:
    """Return how often each query finds each key but itself in all rounds, (entries, N, N), one chunk at a time."""
    rounds, entries, n = buckets.shape
    found = torch.zeros(entries, n, n, dtype=torch.float64)
    for entry in range(entries):
        parts: list[list[int]] = []
        for number in range(rounds):
            row = buckets[number, entry].tolist()
            order = sorted(range(n), key=lambda t: (row[t], t))
            if chunk is None:
                parts += [[t for t in order if row[t] == bucket] for bucket in sorted(set(row))]
            else:
                parts += [order[first : first + chunk] for first in range(0, n, chunk)]
        for number, own in enumerate(parts):
            before = parts[number - 1] if chunk is not None and len(parts) > 1 else []
            for query in own:
                for key in own + before:
                    found[entry, query, key] += key != query and (key < query or not causal)
    return found


def formula(qk: Tensor, value: Tensor, times: Tensor) -> Tensor:
    """Return the softmax over keys that count several times, and the own value where there is none."""
    scores = qk @ torch.nn.functional.normalize(qk, dim=-1).mT / math.sqrt(qk.shape[-1])
    weights = torch.softmax(scores + torch.where(times > 0, times.log(), -1e9), -1)
    alone = (times.sum(-1, keepdim=True) == 0).to(value.dtype)
    return weights.masked_fill(times == 0, 0.0) @ value + alone * value


@given(
    n=st.sampled_from([1, 5, 24, 37]),
    rounds=st.integers(1, 3),
    chunk=st.none() | st.sampled_from([1, 7, 12]),
    causal=st.booleans(),
    repeated=st.booleans(),
    seed=st.integers(0, 3),
)
@settings(max_examples=30, deadline=None)
def test_attention_is_the_softmax_over_the_tokens_found(
    n: int, rounds: int, chunk: int | None, causal: bool, repeated: bool, seed: int
) -> None:
    qk, value = drawn(2, 1, n, 4, seed=seed).requires_grad_(), drawn(2, 1, n, 3, seed=seed + 9).requires_grad_()
    turns = rotations(4, 6, rounds, generator=generator(seed), dtype=torch.float64)
    out = lsh_attention(qk, value, chunk=chunk, causal=causal, repeated=repeated, rotate=turns)
    times = seen(hashed(qk, turns).flatten(1, 2), chunk, causal).unsqueeze(1)
    wanted = formula(qk, value, times if repeated else times.clamp(max=1))
    torch.testing.assert_close(out, wanted)
    grad = drawn(*out.shape, seed=3)
    found, right = (torch.autograd.grad(x, (qk, value), grad, retain_graph=True) for x in (out, wanted))
    torch.testing.assert_close(found, right)


@pytest.mark.parametrize("repeated", [False, True])
def test_rounds_may_be_computed_one_by_one(repeated: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    qk, value = drawn(2, 2, 45, 8), drawn(2, 2, 45, 8, seed=1)
    turns = rotations(8, 6, 3, generator=generator(), dtype=torch.float64)
    together = lsh_attention(qk, value, chunk=8, causal=True, repeated=repeated, rotate=turns)
    monkeypatch.setattr(places, "MOST_ROWS", 1)
    one_by_one = lsh_attention(qk, value, chunk=8, causal=True, repeated=repeated, rotate=turns)
    torch.testing.assert_close(one_by_one, together)


def test_attention_tends_to_full_attention_with_rounds() -> None:
    qk, value = drawn(1, 2, 64, 8), drawn(1, 2, 64, 8, seed=1)
    full = formula(qk, value, 1 - torch.eye(64, dtype=torch.float64).expand(1, 2, 64, 64))
    errors = []
    for rounds in (1, 8, 64):
        turns = rotations(8, 4, rounds, generator=generator(), dtype=torch.float64)
        errors.append((lsh_attention(qk, value, chunk=16, repeated=False, rotate=turns) - full).abs().mean())
    assert errors[0] > 3 * errors[1] > 9 * errors[2]
    torch.testing.assert_close(errors[2], torch.zeros_like(errors[2]), rtol=0, atol=1e-6)


def test_default_buckets_are_about_as_large_as_chunks() -> None:
    assert [default_buckets(n, 64) for n in (1, 64, 4096, 8192)] == [(2,), (2,), (64,), (128,)]
    for n in (1 << bits for bits in range(14, 24)):
        factors = default_buckets(n, 64)
        assert math.prod(factors) == n // 64
        assert all(2 <= factor <= 16 for factor in factors)


def test_a_generator_draws_the_same_again() -> None:
    qk, value = drawn(1, 1, 40, 4), drawn(1, 1, 40, 4)
    first, again, other = (
        lsh_attention(qk, value, chunk=8, rounds=1, buckets=4, generator=generator(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("buckets", [0, 1, 3, -2, (4, 3), ()])
def test_odd_or_too_few_buckets_are_refused(buckets: object) -> None:
    with pytest.raises(ParameterError, match="buckets="):
        rotations(8, buckets, 1)


def test_other_bad_input_is_named() -> None:
    x = drawn(1, 1, 8, 4)
    with pytest.raises(ParameterError, match="rounds=0"):
        lsh_attention(x, x, rounds=0)
    with pytest.raises(ParameterError, match="chunk=0"):
        lsh_attention(x, x, chunk=0)
    with pytest.raises(ParameterError, match="chunk=0"):
        sorted_chunks(torch.zeros(4, dtype=torch.int64), 0)
    with pytest.raises(ParameterError, match="count"):
        lsh_chunks(chunks=[0, 0], count=0)
    with pytest.raises(ShapeError, match="rotations of shape"):
        lsh_attention(x, x, rotate=rotations(5, 4, 1))
    with pytest.raises(ShapeError, match="rotations=\\(\\)"):
        lsh_attention(x, x, rotate=())
    with pytest.raises(ShapeError, match="qk"):
        lsh_attention(x, x[0])
