"""Reformer against reformer-pytorch 1.4.4 (reformer_pytorch/reformer_pytorch.py: LSHAttention, FullQKAttention)."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from attncc_reformer.attention import lsh_attention
from attncc_reformer.hashing import hashed, sorted_chunks

peer = pytest.importorskip("reformer_pytorch")


def drawn(seed: int, *shape: int) -> Tensor:
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return x.requires_grad_()


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("rounds", "n", "chunk"), [(1, 128, 64), (2, 128, 16), (4, 64, 8)])
def test_attention_and_gradients_are_those_of_lsh_attention(causal: bool, rounds: int, n: int, chunk: int) -> None:
    qk, value, grad = drawn(0, 3, n, 8), drawn(1, 3, n, 8), drawn(2, 3, n, 8).detach()
    torch.manual_seed(3)
    theirs = peer.LSHAttention(bucket_size=chunk, n_hashes=rounds, causal=causal)(qk, value)[0]
    torch.manual_seed(3)  # what it draws: (1, D, rounds, buckets / 2)
    [turns] = torch.randn(1, 8, rounds, n // chunk // 2, dtype=torch.float64)
    rotate = [turns.transpose(0, 1)]
    ours = lsh_attention(qk.unsqueeze(1), value.unsqueeze(1), chunk=chunk, causal=causal, rotate=rotate).squeeze(1)
    torch.testing.assert_close(ours, theirs)
    found, right = (torch.autograd.grad(out, (qk, value), grad) for out in (ours, theirs))
    torch.testing.assert_close(found, right)


@pytest.mark.parametrize("causal", [False, True])
def test_one_chunk_is_full_attention_of_shared_queries_and_keys(causal: bool) -> None:
    qk, value = drawn(0, 2, 40, 8), drawn(1, 2, 40, 8)
    theirs = peer.reformer_pytorch.FullQKAttention(causal=causal)(qk, value)[0]
    ours = lsh_attention(qk.unsqueeze(1), value.unsqueeze(1), rounds=1, chunk=40, causal=causal).squeeze(1)
    torch.testing.assert_close(ours, theirs)


def test_keys_of_several_rounds_count_once_as_theirs_do_outside_of_first_chunks() -> None:
    """Theirs gives what a first chunk finds in the round before a count of 0, and 1e9 times its weight."""
    qk, value, chunk = drawn(0, 1, 128, 8), drawn(1, 1, 128, 8), 16
    torch.manual_seed(3)
    theirs = peer.LSHAttention(bucket_size=chunk, n_hashes=2, allow_duplicate_attention=False)(qk, value)[0]
    torch.manual_seed(3)
    [turns] = torch.randn(1, 8, 2, 4, dtype=torch.float64)
    rotate = [turns.transpose(0, 1)]
    ours = lsh_attention(qk.unsqueeze(1), value.unsqueeze(1), chunk=chunk, rotate=rotate, repeated=False).squeeze(1)
    first = (sorted_chunks(hashed(qk, rotate), chunk) == 0).any(0).squeeze(0)
    assert 16 <= first.sum() <= 32
    torch.testing.assert_close(ours[:, ~first], theirs[:, ~first], rtol=1e-6, atol=1e-8)
