"""selected: blocks and tokens by scores, against brute force in float64, and lists that keep the rules of choosing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import attncc
from attncc.testing import check_pattern
from attncc_selected import choosing
from attncc_selected.choosing import best, block_means, indexed_tokens, moba_blocks, nsa_blocks
from attncc_selected.native import native_sparse_attention
from attncc_selected.routed import routed_attention

N, BLOCK = 75, 8  # the last block is short
BLOCKS = -(-N // BLOCK)


def drawn(seed: int, heads: int = 4, kv_heads: int = 2, n: int = N, dim: int = 8) -> tuple[Tensor, Tensor, Tensor]:
    """Return query, key and value in float64, which are differentiated."""
    generator = torch.Generator().manual_seed(seed)
    sizes = [(2, number, n, dim) for number in (heads, kv_heads, kv_heads)]
    q, k, v = (torch.randn(size, generator=generator, dtype=torch.float64, requires_grad=True) for size in sizes)
    return q, k, v


def attended(q: Tensor, k: Tensor, v: Tensor, keys_of: Callable[[int, int, int], set[int]]) -> Tensor:
    """Return attention query by query, over the keys that `keys_of` gives for a batch entry, head and query."""
    rows = []
    group = q.shape[1] // k.shape[1]
    for b, h, i in np.ndindex(*q.shape[:3]):
        with torch.no_grad():
            keys = sorted(keys_of(b, h, i))
        scores = k[b, h // group, keys] @ q[b, h, i] / q.shape[-1] ** 0.5
        rows.append(scores.softmax(0) @ v[b, h // group, keys] if keys else 0 * q[b, h, i])
    return torch.stack(rows).reshape(q.shape)


def check(found: Tensor, wanted: Tensor, leaves: list[Tensor]) -> None:
    """Check outputs and the gradients of all leaves."""
    torch.testing.assert_close(found, wanted, atol=1e-10, rtol=1e-10)
    grad = torch.randn(found.shape, generator=torch.Generator().manual_seed(9), dtype=found.dtype)
    for x, y in zip(*(torch.autograd.grad(out, leaves, grad) for out in (found, wanted)), strict=True):
        torch.testing.assert_close(x, y, atol=1e-10, rtol=1e-10)


def blocks_of(blocks: Tensor, b: int, h: int, row: int, i: int) -> set[int]:
    """Return the earlier keys in the blocks of a list; what is listed twice counts once."""
    return {j for n in blocks[b, h, row].tolist() if n >= 0 for j in range(n * BLOCK, min((n + 1) * BLOCK, i + 1))}


@pytest.mark.parametrize("queries", [1, 4, 8])
def test_moba_is_attention_over_the_own_block_and_those_with_the_best_means(queries: int) -> None:
    q, k, v = drawn(0)
    blocks = moba_blocks(q, k, 3, block=BLOCK, queries=queries)
    assert blocks.shape == (2, 4, -(-N // queries), 2)

    def keys_of(b: int, h: int, i: int) -> set[int]:
        """By hand: the mean of the run of queries, the mean of each block, and the two earlier blocks that fit best."""
        first = i // queries * queries
        query, own = q[b, h, first : first + queries].mean(0), i // BLOCK
        fit = {n: float(query @ k[b, h // 2, n * BLOCK : (n + 1) * BLOCK].mean(0)) for n in range(own)}
        chosen = {own, *sorted(fit, key=lambda n: -fit[n])[:2]}
        return {j for j in range(i + 1) if j // BLOCK in chosen}

    pattern = attncc.load("moba", blocks=blocks, block=BLOCK, queries=queries)
    check(attncc.attention(q, k, v, pattern, enable_gqa=True), attended(q, k, v, keys_of), [q, k, v])


def test_moba_with_one_block_is_chunked_attention() -> None:
    q, k, _ = drawn(1)
    pattern = attncc.load("moba", blocks=moba_blocks(q, k, 1, block=BLOCK), block=BLOCK)
    np.testing.assert_array_equal(
        attncc.dense_mask(pattern, N, heads=4, batch=2)[0, 0], attncc.dense_mask(attncc.load("chunked", chunk=BLOCK), N)
    )


def test_moba_with_all_blocks_is_causal_attention() -> None:
    q, k, v = drawn(2)
    pattern = attncc.load("moba", blocks=moba_blocks(q, k, BLOCKS, block=BLOCK), block=BLOCK)
    causal = attncc.attention(q, k, v, attncc.load("causal"), enable_gqa=True)
    torch.testing.assert_close(attncc.attention(q, k, v, pattern, enable_gqa=True), causal)


def compressed(k: Tensor, v: Tensor, length: int, stride: int) -> tuple[Tensor, Tensor]:
    """Return means of overlapping blocks, as compressed keys and values."""
    return tuple(x.unfold(2, length, stride).mean(-1) for x in (k, v))


@pytest.mark.parametrize("queries", [1, 4])
def test_native_sparse_attention_is_three_softmaxes_joined_by_gates(queries: int) -> None:
    (q, k, v), (length, stride), window = drawn(3), (4, 2), 6
    pair = compressed(k, v, length, stride)
    gates = torch.rand(2, 4, N, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    blocks = nsa_blocks(q, pair[0], 4, block=BLOCK, compression=(length, stride), queries=queries)
    found = native_sparse_attention(
        q, k, v, pair, gates, blocks, window=window, block=BLOCK, compression=(length, stride), queries=queries
    )
    wanted = (
        gates[..., 0, None] * attended(q, *pair, lambda b, h, i: set(range(max(0, (i + 1 - length) // stride + 1))))
        + gates[..., 1, None] * attended(q, k, v, lambda b, h, i: blocks_of(blocks, b, h, i // queries, i))
        + gates[..., 2, None] * attended(q, k, v, lambda b, h, i: set(range(max(0, i + 1 - window), i + 1)))
    )
    check(found, wanted, [q, k, v, gates])


def test_blocks_of_native_sparse_attention_have_the_weights_of_the_strides_that_they_share() -> None:
    (q, k, v), (length, stride), top = [x.detach() for x in drawn(4)], (4, 2), 5
    keys, _ = compressed(k, v, length, stride)
    blocks = nsa_blocks(q, keys, top, block=BLOCK, compression=(length, stride))
    assert torch.equal(blocks[:, 0], blocks[:, 1])  # the heads of a group share them
    for b, group, i in np.ndindex(2, 2, N):
        importance = np.zeros(BLOCKS)
        seen = max(0, (i + 1 - length) // stride + 1)
        for h in (2 * group, 2 * group + 1):
            scores = keys[b, group, :seen] @ q[b, h, i] / q.shape[-1] ** 0.5
            for c, weight in enumerate(scores.softmax(0).tolist()):
                for position in range(c * stride, c * stride + length, stride):
                    importance[position // BLOCK] += weight
        own = i // BLOCK
        importance[[0, own, max(0, own - 1)]] = np.inf
        ranked = sorted(range(own + 1), key=lambda n: -importance[n])[:top]
        assert [n for n in blocks[b, 2 * group, i].tolist() if n >= 0] == sorted(ranked)


def test_indexed_tokens_beside_a_window_and_a_sink_are_one_softmax() -> None:
    (q, k, v), window, top = drawn(5), 5, 7
    generator = torch.Generator().manual_seed(2)
    iq, ik, weights = (torch.randn(size, generator=generator).double() for size in ((2, 3, N, 4), (2, N, 4), (2, 3, N)))
    sink = torch.randn(4, generator=generator).double().requires_grad_()
    tokens = indexed_tokens(iq, ik, weights, top)
    scores = (weights[..., None] * (iq @ ik[:, None].mT).relu()).sum(1)

    def keys_of(b: int, i: int) -> list[int]:
        chosen = sorted(range(i + 1), key=lambda j: (-float(scores[b, i, j]), j))[:top]
        return sorted({*chosen, *range(max(0, i + 1 - window), i + 1)})

    rows = []
    for b, h, i in np.ndindex(2, 4, N):
        keys = keys_of(b, i)
        logits = torch.cat([k[b, h // 2, keys] @ q[b, h, i] / q.shape[-1] ** 0.5, sink[h : h + 1]])
        rows.append(logits.softmax(0)[:-1] @ v[b, h // 2, keys])
    pattern = attncc.load("selected_tokens", tokens=tokens, window=window)
    found = attncc.attention(q, k, v, pattern, sink=sink, enable_gqa=True)
    check(found, torch.stack(rows).reshape(q.shape), [q, k, v, sink])


def test_repeated_entries_count_once() -> None:
    q, k, v = drawn(6)
    for name, lists in (("selected_tokens", "tokens"), ("selected_blocks", "blocks"), ("moba", "blocks")):
        twice, once = (attncc.load(name, **{lists: [row] * N}) for row in ([1, 0, 1, 1, -1], [0, 1]))
        outs = [attncc.attention(q, k, v, pattern, enable_gqa=True) for pattern in (twice, once)]
        torch.testing.assert_close(*outs, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["moba", "selected_blocks"])
def test_blocks_conform(name: str) -> None:
    lists = np.random.default_rng(0).integers(-1, 9, (2, 2, 9, 3))
    check_pattern(attncc.load(name, blocks=lists, block=16, queries=16), lengths=(17, 129))


def test_tokens_conform() -> None:
    lists = np.random.default_rng(0).integers(-1, 70, (2, 70, 5))
    check_pattern(attncc.load("selected_tokens", tokens=lists, window=4), lengths=(1, 70))


def test_compressed_blocks_conform() -> None:
    check_pattern(attncc.load("compressed_blocks", block=4, stride=2), lengths=(1, 40))


def test_small_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, _ = (x.detach() for x in drawn(9))
    calls: list[Callable[[], Tensor]] = [
        lambda: nsa_blocks(q, k, 4, block=BLOCK, compression=(4, 2), queries=4),
        lambda: indexed_tokens(q, k[:, 0], q[..., 0], 6),
    ]
    whole = [call() for call in calls]
    monkeypatch.setattr(choosing, "CHUNK", 1)
    assert all(torch.equal(call(), wanted) for call, wanted in zip(calls, whole, strict=True))


@settings(max_examples=50)
@given(st.lists(st.sampled_from([-np.inf, 0.0, 1.0, 2.0]), min_size=1, max_size=9), st.data())
def test_the_best_are_the_greatest_and_of_equal_ones_the_first(scores: list[float], data: st.DataObject) -> None:
    top = data.draw(st.integers(1, len(scores)))
    ranked = sorted((n for n, score in enumerate(scores) if score > -np.inf), key=lambda n: (-scores[n], n))[:top]
    found = best(torch.tensor(scores), top).tolist()
    assert found == [-1] * (top - len(ranked)) + sorted(ranked)


def test_means_of_a_short_block_are_those_of_its_positions() -> None:
    _, k, _ = drawn(7)
    torch.testing.assert_close(block_means(k, BLOCK)[:, :, -1], k[:, :, N // BLOCK * BLOCK :].mean(2))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda q, k: moba_blocks(q, k, BLOCKS + 1, block=BLOCK), f"top={BLOCKS + 1} of {BLOCKS}"),
        (lambda q, k: moba_blocks(q, k, 0, block=BLOCK), "top=0"),
        (lambda q, k: moba_blocks(q, k, 2, block=BLOCK, queries=3), "queries = 3 and block = 8"),
        (lambda q, k: nsa_blocks(q, k, BLOCKS + 1, block=BLOCK, compression=(4, 2)), f"top={BLOCKS + 1}"),
        (lambda q, k: nsa_blocks(q, k, 2, block=BLOCK, compression=(4, 2)), f"top=2 of {BLOCKS}"),
        (lambda q, k: nsa_blocks(q, k, 2, block=BLOCK, compression=(5, 2)), "stride = 2 and its block = 5"),
        (lambda q, k: nsa_blocks(q, k, 2, block=7, compression=(4, 2)), "stride = 2 and block = 7"),
        (lambda q, k: indexed_tokens(q, k[:, 0], q[..., 0], N + 1), f"top={N + 1} of {N}"),
        (lambda q, k: moba_blocks(q[:, :3], k, 2), "3 heads of queries and 2 of keys"),
    ],
)
def test_impossible_choices_are_refused(call: Callable[[Tensor, Tensor], Tensor], says: str) -> None:
    q, k, _ = drawn(8)
    with pytest.raises((attncc.ParameterError, attncc.ShapeError), match=says):
        call(q, k)


@pytest.mark.parametrize("top", [1, 3, BLOCKS])
def test_queries_sent_to_their_blocks_attend_as_under_the_pattern(top: int) -> None:
    q, k, v = drawn(10)
    blocks = moba_blocks(q, k, top, block=BLOCK)
    pattern = attncc.load("moba", blocks=blocks, block=BLOCK)
    sent = routed_attention(q, k, v, blocks, block=BLOCK)
    check(sent, attncc.attention(q, k, v, pattern, enable_gqa=True), [q, k, v])


def test_queries_are_sent_once_to_a_block_and_not_ahead() -> None:
    q, k, v = drawn(11)
    blocks = torch.randint(-2, BLOCKS + 2, (2, 4, N, 9), generator=torch.Generator().manual_seed(0))
    pattern = attncc.load("moba", blocks=blocks, block=BLOCK)
    sent = routed_attention(q, k, v, blocks, block=BLOCK)
    check(sent, attncc.attention(q, k, v, pattern, enable_gqa=True), [q, k, v])
