"""transformer_xl: relative positions as the paper's formula has them, and steps that equal one pass."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import attncc
from attncc.nn.functional.relative import RelativePosition, relative_attention, sinusoids, widened
from attncc.nn.functional.state import KeyValues
from attncc.testing import check_pattern
from attncc_transformer_xl.recurrence import step

BATCH, HEADS, SIZE = 2, 3, 8


def drawn(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()


def problem(n: int) -> tuple[Tensor, Tensor, Tensor]:
    query, key, value = (drawn(BATCH, HEADS, n, SIZE, seed=seed) for seed in range(3))
    return query, key, value


def positions(distances: int) -> RelativePosition:
    return RelativePosition(
        drawn(HEADS, SIZE, seed=3), drawn(HEADS, SIZE, seed=4), drawn(HEADS, distances, SIZE, seed=5)
    )


def by_formula(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, relative: RelativePosition) -> Tensor:
    """Return attention with the four terms of the paper, one by one."""
    q, k, v, scores = query, key, value, []
    for i in range(mask.shape[0]):
        at = i + mask.shape[1] - mask.shape[0]
        distance = (at - torch.arange(mask.shape[1])).clamp(0, relative.distances.shape[1] - 1)
        r = relative.distances[:, distance]
        terms = [
            torch.einsum("bhd,bhjd->bhj", q[:, :, i], k),
            torch.einsum("bhd,hjd->bhj", q[:, :, i], r),
            torch.einsum("hd,bhjd->bhj", relative.content, k),
            torch.einsum("hd,hjd->hj", relative.position, r),
        ]
        scores.append(sum(terms) / SIZE**0.5)
    return torch.stack(scores, 2).masked_fill(~mask, -torch.inf).softmax(-1) @ v


def check_equal(ours: Tensor, theirs: Tensor, leaves: tuple[Tensor, ...]) -> None:
    """Check outputs, and the gradients of their products with one drawn direction."""
    torch.testing.assert_close(ours, theirs)
    direction = drawn(*ours.shape, seed=9).detach()
    pairs = zip(*(torch.autograd.grad(out, leaves, direction) for out in (ours, theirs)), strict=True)
    for mine, wanted in pairs:
        torch.testing.assert_close(mine, wanted)


@pytest.mark.parametrize(("segment", "memory"), [(1, 0), (1, 5), (6, 0), (6, 9), (16, 40)])
def test_the_pattern_agrees_with_the_oracle(segment: int, memory: int) -> None:
    check_pattern(attncc.load("segment_memory", segment=segment, memory=memory), lengths=(1, 17, 48))


def test_a_segment_of_one_is_a_window() -> None:
    window = attncc.load("sliding_window", window=6)
    assert attncc.load("segment_memory", segment=1, memory=5).key == window.key


@pytest.mark.parametrize(("n_q", "n_k"), [(12, 12), (5, 12)])
def test_scores_are_the_four_terms_of_the_paper(n_q: int, n_k: int) -> None:
    query, key, value = problem(n_k)
    query, relative = query[:, :, :n_q], positions(n_k)
    pattern = attncc.load("segment_memory", segment=4, memory=3)
    mask = attncc.dense_mask(pattern, n_q, n_k, q_offset=n_k - n_q)
    leaves = (key, value, relative.content, relative.position, relative.distances)
    ours = relative_attention(query, key, value, pattern, relative)
    check_equal(ours, by_formula(query, key, value, mask, relative), leaves)


def test_gradients_are_those_of_finite_differences() -> None:
    query, key, value = (x.detach()[:1, :1, :4].requires_grad_() for x in problem(4))
    relative = [drawn(1, SIZE, seed=3), drawn(1, SIZE, seed=4), drawn(1, 4, SIZE, seed=5)]

    def attend(query: Tensor, key: Tensor, value: Tensor, *relative: Tensor) -> Tensor:
        return relative_attention(query, key, value, attncc.load("causal"), RelativePosition(*relative))

    assert torch.autograd.gradcheck(attend, (query, key, value, *relative))


def test_waves_in_queries_and_keys_are_the_table_of_sinusoids() -> None:
    query, key, value = problem(20)
    projection = drawn(HEADS, SIZE, 10, seed=6)
    content, position = drawn(HEADS, SIZE, seed=3), drawn(HEADS, SIZE, seed=4)
    table = sinusoids(20, 10, dtype=torch.float64) @ projection.mT
    relative = RelativePosition(content, position, table)
    pattern, few = attncc.load("segment_memory", segment=1, memory=7), query[:, :, 12:]
    wide_query, wide_key = widened(few, key, content, position, projection)
    wide = attncc.attention(wide_query, wide_key, value, pattern, scale=SIZE**-0.5, q_offset=12)
    leaves = (query, key, value, content, position, projection)
    check_equal(wide, relative_attention(few, key, value, pattern, relative), leaves)


@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_steps_of_any_size_equal_one_pass(chunk: int) -> None:
    n, size = 80, 9
    tensors, relative = problem(n), positions(size + 1)
    memory: KeyValues | None = None
    outs = []
    for first in range(0, n, chunk):
        query, key, value = (x[:, :, first : first + chunk] for x in tensors)
        out, memory = step(query, key, value, memory, relative, size=size)
        outs.append(out)
    whole = relative_attention(*tensors, attncc.load("sliding_window", window=size + 1), relative)
    leaves = (*tensors, relative.content, relative.position, relative.distances)
    check_equal(torch.cat(outs, 2), whole, leaves)


def test_segments_equal_one_pass_of_the_pattern() -> None:
    n, segment, size = 30, 6, 8
    tensors, relative = problem(n), positions(segment + size)
    memory: KeyValues | None = None
    outs = []
    for first in range(0, n, segment):
        query, key, value = (x[:, :, first : first + segment] for x in tensors)
        out, memory = step(query, key, value, memory, relative, size=size, pattern=attncc.load("causal"))
        outs.append(out)
    whole = relative_attention(*tensors, attncc.load("segment_memory", segment=segment, memory=size), relative)
    torch.testing.assert_close(torch.cat(outs, 2), whole)


def test_a_detached_memory_has_no_gradient() -> None:
    (query, key, value), relative = problem(6), positions(7)
    _, memory = step(query[:, :, :3], key[:, :, :3], value[:, :, :3], None, relative, size=6)
    out, _ = step(query[:, :, 3:], key[:, :, 3:], value[:, :, 3:], memory.detached(), relative, size=6)
    gradient = torch.autograd.grad(out.sum(), value)[0]
    assert gradient[:, :, :3].eq(0).all()
    assert gradient[:, :, 3:].ne(0).any()


@pytest.mark.parametrize("backend", ["reference", "triton"])
def test_every_backend_has_relative_positions(backend: str) -> None:
    tensors, relative = [x.detach().float().requires_grad_() for x in problem(20)], positions(12)
    relative = RelativePosition(*(x.float() for x in (relative.content, relative.position, relative.distances)))
    pattern = attncc.load("segment_memory", segment=4, memory=8)
    ours, torchs = (relative_attention(*tensors, pattern, relative, backend=name) for name in (backend, "torch"))
    torch.testing.assert_close(ours, torchs)
    for mine, wanted in zip(*(torch.autograd.grad(x.sin().sum(), tensors) for x in (ours, torchs)), strict=True):
        torch.testing.assert_close(mine, wanted, rtol=1e-4, atol=1e-5)


def test_key_heads_may_be_shared() -> None:
    query, key, value = problem(10)
    relative, causal = positions(10), attncc.load("causal")
    shared = relative_attention(query, key[:, :1], value[:, :1], causal, relative)
    repeated = (x[:, :1].expand(-1, HEADS, -1, -1) for x in (key, value))
    torch.testing.assert_close(shared, relative_attention(query, *repeated, causal, relative))


def test_bad_input_is_refused_by_name() -> None:
    (query, key, value), relative = problem(6), positions(7)
    with pytest.raises(attncc.ParameterError, match="segment=0"):
        attncc.load("segment_memory", segment=0)
    with pytest.raises(attncc.ParameterError, match="memory=-1"):
        attncc.load("segment_memory", memory=-1)
    with pytest.raises(attncc.ParameterError, match="size=-1"):
        step(query, key, value, None, relative, size=-1)
    with pytest.raises(attncc.ParameterError, match="size=5"):
        sinusoids(4, 5)
    with pytest.raises(attncc.ShapeError, match="content"):
        relative_attention(query[:, :1], key, value, attncc.load("causal"), relative)
    with pytest.raises(attncc.AttnccError, match="table"):
        relative_attention(query, key, value, attncc.load("causal"), positions(3))
