"""Functions for FlexAttention as patterns and scores: equal to what FlexAttention makes of them, or refused."""

from __future__ import annotations

import math
import operator
from functools import partial

import numpy
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.attention.flex_attention import and_masks, create_mask, noop_mask, or_masks

import attncc
from attncc.errors import PatternError, ScoreError, TableError
from attncc.ir import symbols

B, H, N = 2, 3, 48
IDS = torch.arange(N) // 11
OF_EACH = torch.stack([torch.arange(N) // 7, torch.arange(N) // 20])
FLAGS = torch.arange(N) % 5 == 0
CHOSEN = torch.tensor([[0, 2, -1], [1, 1, 0], [3, 5, 2], [0, -4, 4], [5, 1, 3], [2, 2, 2]])
OFFSET = torch.tensor(3)


def causal(b, h, q_idx, kv_idx):
    return q_idx >= kv_idx


def window(b, h, q_idx, kv_idx):
    return torch.abs(q_idx - kv_idx) <= 5


def documents(b, h, q_idx, kv_idx):
    return IDS[q_idx] == IDS[kv_idx]


def of_each(b, h, q_idx, kv_idx):
    return (OF_EACH[b, q_idx] == OF_EACH[b][kv_idx]) & causal(b, h, q_idx, kv_idx)


def flagged(b, h, q_idx, kv_idx):
    return torch.logical_or(FLAGS[kv_idx], torch.logical_not(q_idx - kv_idx > 4))


def clamped(b, h, q_idx, kv_idx):
    centre = q_idx.clamp(4, N - 5)
    return (kv_idx - centre).abs() <= 4


def by_head(b, h, q_idx, kv_idx):
    return torch.where(h % 2 == 0, kv_idx <= q_idx, kv_idx >= q_idx)


def of_blocks(b, h, q_idx, kv_idx):
    return (CHOSEN[q_idx // 8] == (kv_idx // 8).unsqueeze(-1)).any(dim=-1)


def by_offsets(b, h, q_idx, kv_idx):
    return (CHOSEN[q_idx // 8] == (kv_idx - q_idx)).any(-1)


def moved(b, h, q_idx, kv_idx):
    return kv_idx <= q_idx + OFFSET


def bits(b, h, q_idx, kv_idx):
    return ((q_idx ^ kv_idx) & 6).to(torch.int32) == 0


MASKS = [causal, window, documents, of_each, flagged, clamped, by_head, of_blocks, by_offsets, moved, bits, noop_mask]


def expected(mask_mod) -> torch.Tensor:
    return create_mask(mask_mod, B, H, N, N, device="cpu")


def found(pattern: attncc.Pattern) -> torch.Tensor:
    mask = attncc.dense_mask(pattern, N, batch=B, heads=H)
    if mask.ndim == 3 and symbols.B in pattern.free:
        mask = mask[:, None]
    return mask.expand(B, H, N, N)


@pytest.mark.parametrize("mask_mod", MASKS, ids=lambda mod: mod.__name__)
def test_a_mask_mod_is_the_pattern_of_its_pairs(mask_mod) -> None:
    torch.testing.assert_close(found(attncc.from_mask_mod(mask_mod)), expected(mask_mod))


@given(st.lists(st.sampled_from(MASKS), min_size=1, max_size=3), st.sampled_from([and_masks, or_masks]))
def test_mask_mods_combine_as_in_flex_attention(mods, join) -> None:
    torch.testing.assert_close(found(attncc.from_mask_mod(join(*mods))), expected(join(*mods)))


def test_every_door_takes_the_function_itself() -> None:
    query, key, value = torch.randn(3, B, H, N, 8, dtype=torch.float64)
    mask = expected(of_each)
    wanted = torch.nn.functional.scaled_dot_product_attention(query, key, value, mask)
    torch.testing.assert_close(attncc.attention(query, key, value, of_each), wanted)
    torch.testing.assert_close(attncc.compile(of_each, N, batch=B)(query, key, value), wanted)
    assert attncc.plan(of_each, N, batch=B).nnz == int(mask[:, 0].sum())
    assert attncc.verify(causal, N)[0].holds
    attncc.Documents([0, 20, N]).pattern(causal)


def test_tables_are_named_as_the_variables_are() -> None:
    assert {table.name for table in attncc.from_mask_mod(documents).looked_up} == {"IDS"}


def test_a_pattern_is_made_once_for_a_function_that_reads_the_same() -> None:
    ids = torch.arange(N) // 16

    def same(b, h, q_idx, kv_idx):
        return ids[q_idx] == ids[kv_idx]

    first = attncc.from_mask_mod(same)
    assert attncc.from_mask_mod(same) is first
    ids[20:] = 9  # written in place: the same tensor, another version
    second = attncc.from_mask_mod(same)
    torch.testing.assert_close(found(second), expected(same))
    assert not torch.equal(found(second), found(first))
    assert second.template.fingerprint == first.template.fingerprint  # so that they share a plan's preparation


def test_a_function_with_bound_arguments_is_a_mask_mod() -> None:
    def within(b, h, q_idx, kv_idx, reach):
        return abs(q_idx - kv_idx) < reach

    torch.testing.assert_close(
        found(attncc.from_mask_mod(partial(within, reach=4))), expected(partial(within, reach=4))
    )


def test_dense_tabulates_what_symbols_cannot_do() -> None:
    def any_of_three(b, h, q_idx, kv_idx):
        return (torch.arange(3, device=q_idx.device) * 7 + b == kv_idx - q_idx).any()

    with pytest.raises(PatternError, match="dense="):
        attncc.from_mask_mod(any_of_three)
    tabulated = attncc.from_mask_mod(any_of_three, dense=(N, N), batch=B)
    torch.testing.assert_close(found(tabulated), expected(any_of_three))


# scores


def relative(bias):
    return lambda score, b, h, q_idx, kv_idx: score + bias[h, q_idx - kv_idx + N]


def slopes(weights):
    return lambda score, b, h, q_idx, kv_idx: score + (kv_idx - q_idx) * torch.exp2(-(h + 1.0)) * weights[h]


def capped(cap):
    return lambda score, b, h, q_idx, kv_idx: cap * torch.tanh(score / cap)


def gelu(scale):
    return lambda score, b, h, q_idx, kv_idx: torch.log(torch.nn.functional.gelu(score) * scale**2 + 1.0)


def by_distance(bias):
    distances = (torch.arange(N)[:, None] - torch.arange(N)).abs().clamp(max=5)
    return lambda score, b, h, q_idx, kv_idx: score + bias[h, distances[q_idx, kv_idx]]


def causal_score(scale):
    return lambda score, b, h, q_idx, kv_idx: torch.where(q_idx >= kv_idx, score * scale, -float("inf"))


SCORES = {
    "relative": (relative, (H, 2 * N)),
    "slopes": (slopes, (H,)),
    "capped": (capped, ()),
    "gelu": (gelu, ()),
    "by_distance": (by_distance, (H, 6)),
    "causal": (causal_score, ()),
}


@pytest.mark.parametrize("name", SCORES)
def test_a_score_mod_is_a_score_with_gradients(name: str) -> None:
    make, shape = SCORES[name]
    torch.manual_seed(0)
    weights = torch.rand(shape, dtype=torch.float64).add(0.5).requires_grad_()
    tensors = [torch.randn(B, H, N, 8, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    grad = torch.randn(B, H, N, 8, dtype=torch.float64)

    def outputs(out: torch.Tensor) -> list[torch.Tensor]:
        return [out, *torch.autograd.grad(out, [*tensors, weights], grad)]

    query, key, value = tensors
    products = query @ key.mT / 8**0.5
    positions = [
        torch.arange(n).view([-1 if axis == k else 1 for k in range(4)]) for axis, n in enumerate((B, H, N, N))
    ]
    wanted = outputs(make(weights)(products, *positions).softmax(-1) @ value)
    with_function = outputs(attncc.attention(query, key, value, noop_mask, score=make(weights)))
    for one, other in zip(with_function, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)


# what is refused


def test_a_float_tensor_in_a_mask_is_refused() -> None:
    table = torch.rand(N)
    with pytest.raises(PatternError, match=r"'table' of torch\.float32 was looked up in a mask"):
        attncc.from_mask_mod(lambda b, h, q_idx, kv_idx: table[q_idx] > 0.5)


def test_a_reduction_over_a_row_is_refused() -> None:
    rows = torch.rand(N, 4)
    with pytest.raises(ScoreError, match="single entries of tensors"):
        attncc.from_score_mod(lambda score, b, h, q_idx, kv_idx: score + torch.dot(rows[q_idx], rows[kv_idx]))


@pytest.mark.parametrize("value", [3, "causal", torch.ones(4, 4)])
def test_other_values_than_functions_are_refused(value: object) -> None:
    with pytest.raises(PatternError):
        attncc.from_mask_mod(value)


@pytest.mark.parametrize("value", [None, 1.0, "causal", (True, True), torch.ones(3, dtype=torch.bool)])
def test_a_mask_mod_that_returns_no_boolean_is_told(value: object) -> None:
    with pytest.raises(PatternError, match="returned"):
        attncc.from_mask_mod(lambda b, h, q_idx, kv_idx: value)
    with pytest.raises(PatternError, match="returned floating-point numbers"):
        attncc.from_mask_mod(lambda b, h, q_idx, kv_idx: (q_idx >= kv_idx).float())


def test_a_function_of_two_arguments_is_refused_in_words() -> None:
    with pytest.raises(PatternError, match="b, h, q_idx, kv_idx"):
        attncc.attention(*torch.randn(3, 1, 1, 8, 8), lambda i, j: j <= i)


def test_a_score_that_is_no_number_is_refused() -> None:
    with pytest.raises((ScoreError, TableError)):
        attncc.from_score_mod(lambda score, b, h, q_idx, kv_idx: "score")


def test_heads_take_functions_as_they_are():
    mixed = attncc.per_head([window, attncc.load("causal")])
    assert mixed == attncc.per_head([attncc.from_mask_mod(window), attncc.load("causal")])


@pytest.mark.parametrize("join", [operator.and_, operator.or_])
def test_operators_name_the_way_from_a_function_to_a_pattern(join):
    pattern = attncc.load("causal")
    for pair in ((pattern, window), (window, pattern)):
        with pytest.raises(PatternError, match=r"attncc.from_mask_mod\(window\)"):
            join(*pair)
    made = attncc.from_mask_mod(window)
    assert join(attncc.factory("causal"), made) == join(pattern, made)


class Module(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.slopes = torch.rand(H, requires_grad=True)

    def masked(self, b, h, q_idx, kv_idx):
        return IDS[q_idx] == IDS[kv_idx]

    def scored(self, score, b, h, q_idx, kv_idx):
        return score + self.slopes[h] * (q_idx - kv_idx)


def written(b, h, q_idx, kv_idx):
    IDS[q_idx] = 1
    return q_idx >= kv_idx


def decided(b, h, q_idx, kv_idx):
    return 1 if q_idx > kv_idx else 0


REFUSED = {
    "a function of torch": lambda b, h, q, k: torch.bucketize(q, IDS) == k,
    "a set": lambda b, h, q, k: torch.isin(k, IDS),
    "a function of tensors": lambda b, h, q, k: torch.gather(IDS, 0, q) == k,
    "a new axis": lambda b, h, q, k: q[None] >= k,
    "a view": lambda b, h, q, k: q.view(-1, 1) >= k,
    "an item": lambda b, h, q, k: q.item() >= k,
    "an integer": lambda b, h, q, k: int(q) >= k,
    "a sum": lambda b, h, q, k: (q >= k).sum() > 0,
    "numpy": lambda b, h, q, k: numpy.abs(q - k) < 3,
    "an array": lambda b, h, q, k: numpy.arange(N)[q] > k,
    "control flow": decided,
    "a chain": lambda b, h, q, k: 0 <= q - k < 3,
    "writing": written,
    "a floating-point mask": lambda b, h, q, k: torch.where(q >= k, 0.0, -math.inf),
    "no result": lambda b, h, q, k: None,
    "a pattern": lambda b, h, q, k: attncc.load("causal"),
    "weights": lambda b, h, q, k: torch.rand(N, requires_grad=True)[q] > 0.5,
    "a random number": lambda b, h, q, k: torch.rand_like(q) > 0.5,
    "too few arguments": lambda b, q, k: q >= k,
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_mod_that_symbols_do_not_run_is_refused_with_value_rule_and_fix(kind: str) -> None:
    for made in (attncc.from_mask_mod, lambda mod: attncc.from_score_mod(lambda s, b, h, q, k: s + mod(b, h, q, k))):
        if made is not attncc.from_mask_mod and kind in ("a floating-point mask", "weights", "too few arguments"):
            continue
        with pytest.raises((PatternError, ScoreError)) as raised:
            made(REFUSED[kind])
        assert raised.value.problem
        assert raised.value.rule
        assert raised.value.fix
        assert "Did you mean" not in str(raised.value)


def test_functions_of_every_kind_run() -> None:
    module, several = Module(), [causal, window]
    for mod in (
        module.masked,
        partial(lambda b, h, q, k, w: (q >= k) & (q - k < w), w=3),
        lambda b, h, q, k: several[0](b, h, q, k) & several[1](b, h, q, k),
    ):
        found = attncc.dense_mask(attncc.from_mask_mod(mod), N)
        q, k = torch.arange(N)[:, None], torch.arange(N)
        assert torch.equal(found, mod(0, 0, q, k).expand(N, N))
    q, k, v = torch.randn(3, 1, H, 16, 4)
    attncc.attention(q, k, v, attncc.load("full"), score=module.scored).sum().backward()
    assert module.slopes.grad is not None


def test_a_function_that_takes_other_arguments_is_told_which_to_take() -> None:
    with pytest.raises(PatternError, match="Take b, h, q_idx, kv_idx, and bind"):
        attncc.from_mask_mod(REFUSED["too few arguments"])
    with pytest.raises(ScoreError, match="Take score, b, h, q_idx, kv_idx, and bind"):
        attncc.from_score_mod(causal)
