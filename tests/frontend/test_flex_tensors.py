"""Tensors that functions for FlexAttention look up: of all dtypes and ranks, and written to between calls."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from test_flex import B, H, N, expected, found
from torch.nn.attention.flex_attention import and_masks, noop_mask, or_masks

import attncc
from attncc.errors import AttnccWarning, PatternError

GENERATOR = torch.Generator().manual_seed(0)


def drawn(least: int, most: int, *shape: int, dtype: torch.dtype = torch.int64) -> torch.Tensor:
    return torch.randint(least, most, shape, generator=GENERATOR).to(dtype)


ONE, OTHER = drawn(0, 2, 2, N).bool()
NUMBERS, PAIRS = drawn(-5, 5, N), drawn(0, 9, N, N)
OF_HEADS, OF_ENTRIES = drawn(0, 2, H, N, N).bool(), drawn(0, 2, B, H, N, N).bool()
WIDE, BITS = drawn(-100, 101, N, 4, dtype=torch.int8), drawn(0, 2, N, 4).bool()
YES, NO, THREE = torch.tensor(True), torch.tensor(False), torch.tensor(3)

MASKS = {
    "a sum of booleans": lambda b, h, q_idx, kv_idx: (ONE[q_idx] + OTHER[kv_idx]) == YES,
    "a product of booleans": lambda b, h, q_idx, kv_idx: ~(ONE[q_idx] * OTHER[kv_idx]),
    "a boolean times a condition": lambda b, h, q_idx, kv_idx: ~((q_idx > kv_idx) * OTHER[kv_idx]),
    "booleans as integers": lambda b, h, q_idx, kv_idx: ONE[q_idx].int() + OTHER[kv_idx].int() == 1,
    "bits of a boolean as integer": lambda b, h, q_idx, kv_idx: ~ONE[q_idx].int(),
    "a boolean without dimensions": lambda b, h, q_idx, kv_idx: YES & (q_idx > kv_idx) | NO,
    "and on the right": lambda b, h, q_idx, kv_idx: (q_idx > kv_idx) & ~NO,
    "to choose by": lambda b, h, q_idx, kv_idx: torch.where(YES, q_idx >= kv_idx, kv_idx > q_idx),
    "as a result": lambda b, h, q_idx, kv_idx: NO,
    "the method where": lambda b, h, q_idx, kv_idx: (q_idx > kv_idx).where(kv_idx > 5, q_idx == kv_idx),
    "where of numbers": lambda b, h, q_idx, kv_idx: q_idx.where(q_idx > kv_idx, kv_idx) > 9,
    "ones of integers": lambda b, h, q_idx, kv_idx: q_idx + torch.ones_like(q_idx) > kv_idx,
    "zeros of integers": lambda b, h, q_idx, kv_idx: q_idx == torch.zeros_like(q_idx),
    "ones of booleans": lambda b, h, q_idx, kv_idx: ~torch.ones_like(q_idx, dtype=torch.bool),
    "a table of heads": lambda b, h, q_idx, kv_idx: OF_HEADS[h, q_idx, kv_idx],
    "a table of a batch entry": lambda b, h, q_idx, kv_idx: OF_ENTRIES[1, h, kv_idx, q_idx],
    "numbers from the end": lambda b, h, q_idx, kv_idx: PAIRS[-1, kv_idx] > PAIRS[q_idx, -2],
    "numbers that are tensors": lambda b, h, q_idx, kv_idx: PAIRS[THREE, kv_idx] > PAIRS[q_idx][THREE],
    "lists of short integers": lambda b, h, q_idx, kv_idx: (WIDE[q_idx] == kv_idx * 8 - 100).any(-1),
    "lists of booleans": lambda b, h, q_idx, kv_idx: (BITS[q_idx] == kv_idx % 2).any(-1),
    "empty lists": lambda b, h, q_idx, kv_idx: (WIDE[:, :0][q_idx] == kv_idx).any(-1),
    "parts of a tensor": lambda b, h, q_idx, kv_idx: PAIRS.T[q_idx, kv_idx] > PAIRS[:, 3][kv_idx],
    "nothing to join": and_masks(),
}


@pytest.mark.parametrize("name", MASKS)
def test_tensors_are_looked_up_as_in_flex_attention(name: str) -> None:
    torch.testing.assert_close(found(attncc.from_mask_mod(MASKS[name])), expected(MASKS[name]).bool())


@pytest.mark.parametrize(
    "mask_mod",
    [
        lambda b, h, q_idx, kv_idx: PAIRS[q_idx] != kv_idx,
        lambda b, h, q_idx, kv_idx: (q_idx - kv_idx).to(torch.uint8) > 200,
        lambda b, h, q_idx, kv_idx: q_idx.short() > kv_idx,
        lambda b, h, q_idx, kv_idx: NUMBERS + q_idx > kv_idx,
        lambda b, h, q_idx, kv_idx: ONE[q_idx] + OTHER[kv_idx] == 1,
    ],
)
def test_functions_that_would_differ_are_refused(mask_mod) -> None:
    with pytest.raises(PatternError) as raised:
        attncc.from_mask_mod(mask_mod)
    assert "Recursion" not in str(raised.value)


def test_a_function_that_torch_made_reads_what_it_closes_over() -> None:
    ids = torch.arange(N) // 5
    joined = or_masks(lambda b, h, q_idx, kv_idx: ids[q_idx] == ids[kv_idx])

    def inside(b, h, q_idx, kv_idx):
        return joined(b, h, q_idx, kv_idx)

    before = [found(attncc.from_mask_mod(mod)) for mod in (joined, inside)]
    ids[7:] = 9
    for mod, old in zip((joined, inside), before, strict=True):
        assert not torch.equal(old, expected(mod))
        torch.testing.assert_close(found(attncc.from_mask_mod(mod)), expected(mod))


def test_methods_of_objects_are_asked_again() -> None:
    sizes, reach = {"reach": 4}, torch.tensor(2)
    get, item = sizes.get, reach.item

    def near(b, h, q_idx, kv_idx):
        return abs(q_idx - kv_idx) < get("reach") + item()

    attncc.from_mask_mod(near)
    sizes["reach"] = 9
    torch.testing.assert_close(found(attncc.from_mask_mod(near)), expected(near))
    reach.fill_(5)
    torch.testing.assert_close(found(attncc.from_mask_mod(near)), expected(near))


def test_tensors_of_inference_mode_are_read_each_time() -> None:
    with torch.inference_mode():
        ids = torch.arange(N) // 5

    def documents(b, h, q_idx, kv_idx):
        return ids[q_idx] == ids[kv_idx]

    attncc.from_mask_mod(documents)
    with torch.inference_mode():
        ids[7:] = 9
    torch.testing.assert_close(found(attncc.from_mask_mod(documents)), expected(documents))


def test_an_object_without_a_hash_is_a_mask_mod() -> None:
    @dataclass
    class Window:
        size: int

        def __call__(self, b, h, q_idx, kv_idx):
            return abs(q_idx - kv_idx) < self.size

    torch.testing.assert_close(found(attncc.from_mask_mod(Window(4))), expected(Window(4)))


@pytest.mark.parametrize(
    "sizes",
    [
        {"dense": (4,)},
        {"dense": 4},
        {"dense": (4, 0)},
        {"dense": (4, 4.0)},
        {"dense": (4, 4), "heads": 0},
        {"dense": (4, 4), "batch": True},
        {"heads": 3},
    ],
)
def test_sizes_of_a_dense_mask_are_positive_integers(sizes) -> None:
    with pytest.raises(PatternError, match="dense="):
        attncc.from_mask_mod(lambda b, h, q_idx, kv_idx: q_idx >= kv_idx, **sizes)


@pytest.mark.parametrize(
    "mask_mod",
    [
        lambda b, h, q_idx, kv_idx: True,
        lambda b, h, q_idx, kv_idx: NUMBERS[q_idx + 1] > 0,
        lambda b, h, q_idx, kv_idx: NUMBERS > 0,
    ],
)
def test_an_error_of_a_dense_function_is_told(mask_mod) -> None:
    with pytest.raises(PatternError, match="raised"):
        attncc.from_mask_mod(mask_mod, dense=(N, N))


# scores


def test_gradients_of_a_sigmoid_are_finite_where_its_exponential_overflows() -> None:
    query, key, value = (torch.randn(1, 1, N, 8, requires_grad=True) for _ in range(3))

    def gated(score, b, h, q_idx, kv_idx):
        return torch.sigmoid(1000 * score)

    one = attncc.attention(query, key, value, noop_mask, score=gated)
    other = torch.sigmoid(1000 * (query @ key.mT / 8**0.5)).softmax(-1) @ value
    torch.testing.assert_close(one, other)
    for leaf in (query, key, value):
        one_, other_ = (torch.autograd.grad(out.sum(), leaf, retain_graph=True)[0] for out in (one, other))
        torch.testing.assert_close(one_, other_, rtol=1e-4, atol=1e-4)


def test_the_gradient_of_a_sigmoid_at_zero_is_a_quarter() -> None:
    weights = torch.zeros(N, dtype=torch.float64, requires_grad=True)
    query, key, value = torch.randn(3, 1, 1, N, 8, dtype=torch.float64)

    def gated(score, b, h, q_idx, kv_idx):
        return score + torch.sigmoid(weights[kv_idx])

    found_, wanted = (
        torch.autograd.grad(out.square().sum(), weights)[0]
        for out in (
            attncc.attention(query, key, value, noop_mask, score=gated),
            (query @ key.mT / 8**0.5 + torch.sigmoid(weights)).softmax(-1) @ value,
        )
    )
    torch.testing.assert_close(found_, wanted)


@pytest.mark.parametrize(
    "converted", [lambda x: x.half(), lambda x: x.to(torch.bfloat16), lambda x: x.type(torch.float8_e5m2)]
)
def test_a_score_that_would_be_rounded_is_warned_of(converted) -> None:
    with pytest.warns(AttnccWarning, match="doesn't round on the way"):
        found = attncc.from_score_mod(lambda score, b, h, i, j: converted(score) + (i - j).double())
    assert found.key == attncc.from_score_mod(lambda score, b, h, i, j: score.float() + (i - j)).key


def test_a_score_may_be_a_tensor_without_dimensions() -> None:
    weight = torch.tensor(0.5, requires_grad=True)
    query, key, value = torch.randn(3, 1, 1, N, 8)
    out = attncc.attention(query, key, value, noop_mask, score=lambda score, b, h, q_idx, kv_idx: weight)
    torch.testing.assert_close(out, value.mean(-2, keepdim=True).expand_as(value))
