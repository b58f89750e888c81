"""memory: whole sequences at once equal steps of any size, and both equal the papers' formulas.

x-transformers, local-attention and Transformers have none of the three; the formulas are written out below.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import elu

import attncc
from attncc.nn.functional import compression, compressive, infini
from attncc.nn.functional.compression import Convolution, attention_received, reconstruction_loss
from attncc.nn.functional.compressive import CompressiveState, MemorySizes, compressive_attention
from attncc.nn.functional.infini import InfiniState, infini_attention
from attncc.testing import check_attention, check_pattern, check_plan
from attncc.testing.oracle import Problem
from attncc_memory import memorizing
from attncc_memory.memorizing import RetrievalSizes, RetrievalState, gated, memorizing_attention, nearest

BATCH, HEADS, SIZE, N = 2, 2, 4, 70
CHUNKS = (1, 7, 64)
SIZES = MemorySizes(segment=6, memory=12, compressed=5, ratio=3)
RETRIEVAL = RetrievalSizes(k=3, size=20, segment=6, memory=4)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()


def problem(n: int, kv_heads: int = HEADS) -> tuple[Tensor, Tensor, Tensor]:
    query, key, value = (drawn(BATCH, h, n, SIZE, seed=seed) for seed, h in enumerate((HEADS, kv_heads, kv_heads)))
    return query, key, value


def stepped(step: Callable[..., tuple[Tensor, Any]], state: Any, tensors: tuple[Tensor, ...], chunk: int) -> Tensor:
    """Return the outputs of steps of `chunk` positions, end to end."""
    outs = []
    for first in range(0, tensors[0].shape[2], chunk):
        out, state = step(*(x[:, :, first : first + chunk] for x in tensors), state=state)
        outs.append(out)
    return torch.cat(outs, 2)


def check_equal(ours: Tensor, theirs: Tensor, leaves: tuple[Tensor, ...]) -> None:
    """Check outputs, and the gradients of their products with one drawn direction."""
    torch.testing.assert_close(ours, theirs)
    direction = drawn(*ours.shape, seed=9).detach()
    pairs = zip(*(torch.autograd.grad(out, leaves, direction) for out in (ours, theirs)), strict=True)
    for mine, wanted in pairs:
        torch.testing.assert_close(mine, wanted)


def convolution() -> Convolution:
    return Convolution(drawn(3, SIZE, SIZE, seed=5), drawn(3, SIZE, SIZE, seed=6))


COMPRESSIONS = {
    "mean": compression.mean,
    "maximum": compression.maximum,
    "convolution": convolution(),
    "most_used": compression.most_used,
}


@pytest.mark.parametrize(("segment", "memory", "compressed", "ratio"), [(1, 0, 3, 1), (6, 12, 5, 3), (8, 8, 100, 2)])
def test_the_pattern_agrees_with_the_oracle(segment: int, memory: int, compressed: int, ratio: int) -> None:
    pattern = attncc.load("compressed_memory", segment=segment, memory=memory, compressed=compressed, ratio=ratio)
    check_pattern(pattern, lengths=(1, 17, 48))
    mask = torch.zeros(48, 48 // ratio, dtype=torch.bool)
    for i in range(48):
        end = max(0, (i // segment * segment - memory) // ratio)
        mask[i, max(0, end - compressed) : end] = True
    assert torch.equal(attncc.dense_mask(pattern, 48, 48 // ratio), mask)
    check_plan(attncc.plan(pattern, 48, 48 // ratio, tile=(16, 16)), mask.numpy())


def test_retrieved_keys_are_those_of_the_lists() -> None:
    memories = np.array([[[[0, 3], [-1, 2], [5, 5]]], [[[1, -1], [-1, -1], [0, 4]]]])
    pattern = attncc.load("retrieved", memories=memories)
    mask = torch.zeros(2, 1, 3, 6, dtype=torch.bool)
    for b, _, i, k in np.ndindex(memories.shape):
        if memories[b, 0, i, k] >= 0:
            mask[b, 0, i, memories[b, 0, i, k]] = True
    check_attention(pattern, mask, Problem.drawn(3, 6, batch=2, dtype=torch.float64))


def by_segments(tensors: tuple[Tensor, ...], compress: compression.Compression, sizes: MemorySizes) -> Tensor:
    """Return Compressive attention as the paper's algorithm 1 goes, in plain PyTorch, with one softmax a segment."""
    n, size = tensors[0].shape[2], sizes.segment
    old = [x[:, :, :0] for x in tensors[1:]]
    usage = torch.zeros(BATCH, HEADS, n, dtype=torch.float64)
    outs = []
    for first in range(0, n, size):
        query, start = tensors[0][:, :, first : first + size], max(0, first - sizes.memory)
        key, value = (x[:, :, start : first + size] for x in tensors[1:])
        rows, cols = torch.arange(first, first + query.shape[2])[:, None], torch.arange(start, start + key.shape[2])
        scores = (query @ key.mT / SIZE**0.5).masked_fill(cols > rows, -torch.inf)
        usage[:, :, start : start + key.shape[2]] += scores.softmax(-1).sum(2).detach()
        both = torch.cat([query @ old[0].mT / SIZE**0.5, scores], -1).softmax(-1)
        outs.append(both @ torch.cat([old[1], value], 2))
        oldest = first - sizes.memory
        if oldest >= 0:
            gone = slice(oldest, oldest + size)
            average = usage[:, :, gone] / (sizes.memory + size - torch.arange(size))
            new = compress(tensors[1][:, :, gone], tensors[2][:, :, gone], average, sizes.ratio)
            old = [torch.cat(pair, 2)[:, :, -sizes.compressed :] for pair in zip(old, new, strict=True)]
    return torch.cat(outs, 2)


@pytest.mark.parametrize("name", COMPRESSIONS)
def test_a_compressive_transformer_is_the_papers_algorithm(name: str) -> None:
    tensors, compress = problem(N), COMPRESSIONS[name]
    ours = compressive_attention(*tensors, SIZES, compress, counts_usage=name == "most_used")
    check_equal(ours, by_segments(tensors, compress, SIZES), tensors)


@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize("name", COMPRESSIONS)
def test_compressive_steps_of_any_size_equal_the_whole(name: str, chunk: int) -> None:
    tensors, compress, counts = problem(N), COMPRESSIONS[name], name == "most_used"
    state = CompressiveState.empty(*tensors[1:], counts_usage=counts)
    ours = stepped(partial(compressive.step, sizes=SIZES, compression=compress), state, tensors, chunk)
    check_equal(ours, compressive_attention(*tensors, SIZES, compress, counts_usage=counts), tensors)


def test_a_compressive_memory_may_have_few_key_heads() -> None:
    tensors = problem(N, kv_heads=1)
    state = CompressiveState.empty(*tensors[1:], counts_usage=True)
    ours = stepped(partial(compressive.step, sizes=SIZES, compression=compression.most_used), state, tensors, 7)
    check_equal(ours, compressive_attention(*tensors, SIZES, compression.most_used, counts_usage=True), tensors)


def test_a_convolution_is_that_of_torch() -> None:
    made, (_, key, value) = convolution(), problem(12)
    ours = made(key, value, None, 3)[0]
    weight = made.key.permute(2, 1, 0)  # (out, in, ratio)
    wanted = torch.nn.functional.conv1d(key.flatten(0, 1).mT, weight, stride=3).mT.unflatten(0, (BATCH, HEADS))
    check_equal(ours, wanted, (key, made.key))


def test_attention_that_keys_get_is_the_sum_of_rows() -> None:
    query, key, _ = problem(20)
    weights = (query @ key.mT / SIZE**0.5).masked_fill(~torch.ones(20, 20).tril().bool(), -torch.inf).softmax(-1)
    torch.testing.assert_close(attention_received(query, key, attncc.load("causal")), weights.sum(2))


def test_the_reconstruction_loss_trains_the_compression_alone() -> None:
    (query, key, value), made = problem(12), convolution()
    new = made(key.detach(), value.detach(), None, 3)
    loss = reconstruction_loss(query, (key, value), new)
    before = (query @ key.mT / SIZE**0.5).softmax(-1) @ value
    after = (query @ new[0].mT / SIZE**0.5).softmax(-1) @ new[1]
    torch.testing.assert_close(loss, (before - after).square().mean())
    gradients = torch.autograd.grad(loss, (query, key, value, made.key, made.value), allow_unused=True)
    assert [gradient is None for gradient in gradients] == [True, True, True, False, False]
    assert reconstruction_loss(query, (key, value), (key, value)) == 0


@pytest.mark.parametrize("joined", ["one softmax", "gate"])
def test_a_memorizing_transformer_is_its_formula(joined: str) -> None:
    query, key, value = problem(N)
    gate = None if joined == "one softmax" else drawn(HEADS, seed=3)
    scores, i, j = query @ key.mT / SIZE**0.5, torch.arange(N)[:, None], torch.arange(N)
    start = i // RETRIEVAL.segment * RETRIEVAL.segment - RETRIEVAL.memory
    local, old = (start <= j) & (j <= i), (start - RETRIEVAL.size <= j) & (j < start)
    frozen = (query @ key.detach().mT / SIZE**0.5).masked_fill(~old, -torch.inf)
    least = frozen.topk(RETRIEVAL.k).values[..., -1:]
    frozen = frozen.masked_fill(frozen < least, -torch.inf)
    near = scores.masked_fill(~local, -torch.inf)
    if gate is None:
        wanted = torch.cat([near, frozen], -1).softmax(-1) @ torch.cat([value, value.detach()], 2)
    else:
        has = (start > 0).double()
        share = gate.sigmoid()[:, None, None] * has
        far = frozen.masked_fill((start <= 0), 0.0).softmax(-1) @ value.detach()
        wanted = share * far + (1 - share) * (near.softmax(-1) @ value)
    leaves = (query, key, value) if gate is None else (query, key, value, gate)
    check_equal(memorizing_attention(query, key, value, RETRIEVAL, gate), wanted, leaves)


@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize("kv_heads", [1, HEADS])
def test_memorizing_steps_of_any_size_equal_the_whole(chunk: int, kv_heads: int) -> None:
    tensors, gate = problem(N, kv_heads), drawn(HEADS, seed=3)
    state = RetrievalState.empty(*tensors[1:])
    ours = stepped(partial(memorizing.step, sizes=RETRIEVAL, gate=gate), state, tensors, chunk)
    check_equal(ours, memorizing_attention(*tensors, RETRIEVAL, gate), (*tensors, gate))


def test_all_memories_in_one_softmax_are_causal_attention() -> None:
    tensors = problem(30)
    sizes = RetrievalSizes(k=30, size=30, segment=5)
    torch.testing.assert_close(memorizing_attention(*tensors, sizes), attncc.attention(*tensors, attncc.load("causal")))


def by_recurrence(query: Tensor, key: Tensor, value: Tensor, gate: Tensor, segment: int, delta: bool) -> Tensor:
    """Return Infini-attention, equations 2 to 6, segment by segment."""
    matrix = torch.zeros(BATCH, HEADS, SIZE, SIZE, dtype=torch.float64)
    normaliser = torch.zeros(BATCH, HEADS, SIZE, 1, dtype=torch.float64)
    outs = []
    for first in range(0, query.shape[2], segment):
        q, k, v = (x[:, :, first : first + segment] for x in (query, key, value))
        n = q.shape[2]
        scores = (q @ k.mT / SIZE**0.5).masked_fill(~torch.ones(n, n).tril().bool(), -torch.inf)
        features, of_keys = elu(q) + 1, elu(k) + 1
        far = features @ matrix / (features @ normaliser) if first else torch.zeros_like(v)
        share = gate.sigmoid()[:, None, None]
        outs.append(share * far + (1 - share) * (scores.softmax(-1) @ v))
        known = of_keys @ matrix / (of_keys @ normaliser) if first and delta else 0.0
        matrix = matrix + of_keys.mT @ (v - known)
        normaliser = normaliser + of_keys.sum(2).unsqueeze(-1)
    return torch.cat(outs, 2)


@pytest.mark.parametrize("segment", [1, 6, 100])
@pytest.mark.parametrize("delta", [False, True])
def test_infini_attention_without_a_state_is_the_recurrence(segment: int, delta: bool) -> None:
    leaves = (*problem(N), drawn(HEADS, seed=3))
    check_equal(infini_attention(*leaves, segment=segment, delta=delta), by_recurrence(*leaves, segment, delta), leaves)


@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize("delta", [False, True])
def test_infini_steps_of_any_size_equal_the_whole(chunk: int, delta: bool) -> None:
    tensors, gate = problem(N), drawn(HEADS, seed=3)
    step = partial(infini.step, gate=gate, segment=6, delta=delta)
    ours = stepped(step, InfiniState.empty(*tensors[1:]), tensors, chunk)
    check_equal(ours, infini_attention(*tensors, gate, segment=6, delta=delta), (*tensors, gate))


def test_gradients_are_those_of_finite_differences() -> None:
    tensors = tuple(x.detach()[:1, :1, :6, :2].requires_grad_() for x in problem(6))
    gate = drawn(1, seed=3)
    sizes = MemorySizes(segment=2, memory=0, compressed=2, ratio=2)
    assert torch.autograd.gradcheck(partial(infini_attention, segment=2), (*tensors, gate))
    assert torch.autograd.gradcheck(lambda *x: compressive_attention(*x, sizes, compression.mean), tensors)


STEPS: dict[str, tuple[Callable[..., tuple[Tensor, Any]], Any]] = {
    "compressive": (partial(compressive.step, sizes=SIZES, compression=compression.mean), CompressiveState.empty),
    "memorizing": (partial(memorizing.step, sizes=RETRIEVAL), RetrievalState.empty),
    "infini": (partial(infini.step, gate=torch.zeros(HEADS, dtype=torch.float64), segment=6), InfiniState.empty),
}


@pytest.mark.parametrize("name", STEPS)
def test_gradients_end_at_a_detached_state(name: str) -> None:
    (query, key, value), (step, empty) = problem(N), STEPS[name]
    _, state = step(query[:, :, :40], key[:, :, :40], value[:, :, :40], state=empty(key, value))
    out, _ = step(query[:, :, 40:], key[:, :, 40:], value[:, :, 40:], state=state.detached())
    gradient = torch.autograd.grad(out.sum(), value)[0]
    assert gradient[:, :, :40].eq(0).all()
    assert gradient[:, :, 40:].ne(0).any()


@pytest.mark.parametrize("name", STEPS)
def test_a_step_without_positions_changes_nothing(name: str) -> None:
    tensors, (step, empty) = problem(N), STEPS[name]
    _, state = step(*(x[:, :, :36] for x in tensors), state=empty(*tensors[1:]))
    out, same = step(*(x[:, :, :0] for x in tensors), state=state)
    assert out.shape == (BATCH, HEADS, 0, SIZE)
    torch.testing.assert_close(vars(same), vars(state))


def test_short_numbers_are_summed_in_float32() -> None:
    tensors, gate = [x.detach().bfloat16() for x in problem(N)], torch.zeros(HEADS, dtype=torch.bfloat16)
    for attend in (
        partial(compressive_attention, sizes=SIZES, compression=compression.mean),
        partial(memorizing_attention, sizes=RETRIEVAL),
        lambda *x: infini_attention(*x, gate.to(x[0]), segment=6),
    ):
        out, wanted = attend(*tensors), attend(*(x.double() for x in tensors))
        assert out.dtype == torch.bfloat16
        assert (out.double() - wanted).abs().max() < 0.03


@pytest.mark.parametrize("n", [1, 5])
def test_a_sequence_may_be_shorter_than_a_segment(n: int) -> None:
    tensors, gate = problem(n), torch.zeros(HEADS, dtype=torch.float64)
    local = attncc.attention(*tensors, attncc.load("causal"))
    for name, compress in COMPRESSIONS.items():
        out = compressive_attention(*tensors, SIZES, compress, counts_usage=name == "most_used")
        torch.testing.assert_close(out, local)
    torch.testing.assert_close(memorizing_attention(*tensors, RETRIEVAL, gate), local)
    torch.testing.assert_close(infini_attention(*tensors, gate, segment=6), local / 2)


def test_bad_input_is_refused_by_name() -> None:
    query, key, value = problem(12)
    gate, lost = torch.zeros(HEADS, dtype=torch.float64), torch.zeros(3)
    part = query, query[..., 0]
    for sizes, named in (
        (MemorySizes(6, 12, 5, 4), "ratio=4"),
        (MemorySizes(6, 9, 5, 3), "segment=6"),
        (MemorySizes(0, 12, 5, 3), "segment=0"),
        (MemorySizes(6, 12, 5, 0), "ratio=0"),
        (MemorySizes(6, 12, 0, 3), "compressed=0"),
    ):
        with pytest.raises(attncc.ParameterError, match=named):
            compressive_attention(query, key, value, sizes, compression.mean)
        with pytest.raises(attncc.ParameterError, match=named):
            compressive.step(query, key, value, CompressiveState.empty(key, value), sizes, compression.mean)
    with pytest.raises(attncc.ParameterError, match="usage=None"):
        compressive_attention(query, key, value, MemorySizes(6, 0, 5, 3), compression.most_used)
    with pytest.raises(attncc.ShapeError, match="ratio=2"):
        compressive_attention(query, key, value, MemorySizes(6, 0, 5, 2), convolution())
    with pytest.raises(attncc.ParameterError, match="k=21 with size=20"):
        memorizing_attention(query, key, value, RetrievalSizes(21, 20, 6))
    with pytest.raises(attncc.ParameterError, match="segment=0"):
        memorizing_attention(query, key, value, RetrievalSizes(2, 20, 0))
    with pytest.raises(attncc.ParameterError, match="k=13 of 12"):
        nearest(query, key, 13)
    with pytest.raises(attncc.ParameterError, match="segment=0"):
        infini_attention(query, key, value, gate, segment=0)
    with pytest.raises(attncc.ShapeError, match="gate"):
        infini_attention(query, key, value, lost, segment=6)
    with pytest.raises(attncc.ShapeError, match="gate"):
        gated(part, part, lost)


def test_no_positions_give_no_outputs() -> None:
    nothing = torch.zeros(1, 2, 0, 4)
    assert infini.infini_attention(nothing, nothing, nothing, torch.zeros(2), segment=4).shape == nothing.shape
