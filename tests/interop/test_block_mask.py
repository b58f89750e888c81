"""BlockMasks equal those of create_block_mask, tensor by tensor, and run in flex_attention."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.nn.attention.flex_attention import BlockMask, and_masks, create_block_mask, flex_attention, or_masks

import attncc
from attncc import ExportError, PatternError
from attncc.interop import block_lists, from_block_mask, to_block_mask
from attncc.testing import strategies

LENGTHS = [(64, 64), (100, 100), (33, 130), (256, 192)]
BLOCKS = [16, 128, (32, 64)]
B, H, N = 2, 3, 256
IDS = torch.arange(N) // 37
TREE = torch.rand(N, N, generator=torch.Generator().manual_seed(0)) < 0.3
STARTS = torch.tensor([[0] * N, [20] * N])
TOP = torch.randint(0, 8, (8, 2), generator=torch.Generator().manual_seed(0))


def causal(b: Any, h: Any, q: Any, k: Any) -> Any:
    return k <= q


def window(size: int) -> Callable[..., Any]:
    return lambda b, h, q, k: (k <= q) & (q - k < size)


def document(b: Any, h: Any, q: Any, k: Any) -> Any:
    return IDS[q] == IDS[k]


MASKS: dict[str, Callable[..., Any]] = {
    "full": lambda b, h, q, k: k >= 0,
    "empty": lambda b, h, q, k: k < 0,
    "causal": causal,
    "anticausal": lambda b, h, q, k: k >= q,
    "later only": lambda b, h, q, k: k > q,
    "diagonal": lambda b, h, q, k: k == q,
    "window 1": window(1),
    "window 17": window(17),
    "window 100": window(100),
    "both sides": lambda b, h, q, k: abs(q - k) < 20,
    "outside of a window": lambda b, h, q, k: abs(q - k) > 40,
    "gap behind": lambda b, h, q, k: (q - k > 10) & (q - k < 70),
    "prefix": lambda b, h, q, k: (k < 40) | (k <= q),
    "sinks": lambda b, h, q, k: ((k < 4) | (q - k < 16)) & (k <= q),
    "documents": document,
    "causal documents": and_masks(causal, document),
    "window or document": or_masks(window(9), document),
    "dilated": lambda b, h, q, k: (k <= q) & ((q - k) % 3 == 0),
    "strided": lambda b, h, q, k: (k <= q) & (((q - k) % 16 == 0) | (q - k < 16)),
    "fixed": lambda b, h, q, k: (k <= q) & ((q // 16 == k // 16) | (k % 16 >= 14)),
    "blocks": lambda b, h, q, k: q // 24 == k // 24,
    "blocks of half": lambda b, h, q, k: k // 8 == q // 16,
    "steep": lambda b, h, q, k: k >= 3 * q,
    "flat": lambda b, h, q, k: 3 * k <= q,
    "two rows": lambda b, h, q, k: (q == 3) | (q == 40),
    "columns": lambda b, h, q, k: k % 5 == 0,
    "table of pairs": lambda b, h, q, k: TREE[q, k],
    "lists of blocks": lambda b, h, q, k: (TOP[q // 32] == k // 32).any(-1),
    "by head": lambda b, h, q, k: (k <= q) & (q - k < 16 * (h + 1)),
    "by entry": lambda b, h, q, k: (k <= q) & (k >= STARTS[b, q]),
    "products": lambda b, h, q, k: q * k % 7 == 1,
    "bits": lambda b, h, q, k: (q & k) == 0,
}


def differ(found: BlockMask, wanted: BlockMask) -> list[str]:
    """Return the fields that differ."""
    names = [name for name in wanted._TENSOR_ATTRS if (getattr(wanted, name) is None) != (getattr(found, name) is None)]
    pairs = {name: (getattr(found, name), getattr(wanted, name)) for name in wanted._TENSOR_ATTRS}
    names += [
        name
        for name, (a, b) in pairs.items()
        if a is not None and b is not None and not (a.dtype == b.dtype and torch.equal(a, b))
    ]
    plain = ("seq_lengths", "BLOCK_SIZE", "dq_kv_order_spt")
    return names + [name for name in plain if getattr(found, name) != getattr(wanted, name)]


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
@pytest.mark.parametrize("name", MASKS)
def test_block_masks_equal_those_of_create_block_mask(name: str, lengths: tuple[int, int]) -> None:
    pattern = attncc.from_mask_mod(MASKS[name])
    batch, heads = B if name == "by entry" else 1, H if name == "by head" else 1
    for number, size in enumerate(BLOCKS):
        order = (None, True, False)[number]
        options = {} if order is None else {"compute_dq_write_order": True, "dq_kv_order": order}
        wanted = create_block_mask(MASKS[name], batch, heads, *lengths, "cpu", size, **options)
        found = to_block_mask(
            pattern, *lengths, batch=batch, heads=heads, block_size=size, device="cpu", dq_kv_order=order
        )
        assert differ(found, wanted) == []


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(strategies.cases(), st.sampled_from([1, 8, 24, (16, 5), 128]))
def test_blocks_and_mask_mods_of_random_predicates_equal_torch_s(case: strategies.Case, size: Any) -> None:
    plan = attncc.plan(
        case.pattern, case.q_len, case.kv_len, q_offset=case.q_offset, heads=case.heads, batch=case.batch
    )
    found = to_block_mask(plan, block_size=size, device="cpu")
    b, h = case.mask.shape[:2]
    seen = torch.from_numpy(np.ascontiguousarray(case.mask))
    wanted = create_block_mask(
        lambda b, h, q, k: seen[b, h, q, k], *found.kv_num_blocks.shape[:2], case.q_len, case.kv_len, "cpu", size
    )
    assert differ(found, wanted) == []
    assert (b, h) == (case.batch, case.heads)


def test_views_over_what_is_read_equal_whole_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"block_size": 16, "device": "cpu", "dq_kv_order": True, "heads": H}
    whole = to_block_mask(MASKS["by head"], 200, **options)
    monkeypatch.setattr(block_lists, "WHOLE", 1)
    views = to_block_mask(MASKS["by head"], 200, **options)
    for count, index in [
        ("kv_num_blocks", "kv_indices"),
        ("full_kv_num_blocks", "full_kv_indices"),
        ("q_num_blocks", "q_indices"),
        ("full_q_num_blocks", "full_q_indices"),
        ("q_num_blocks", "dq_write_order"),
        ("full_q_num_blocks", "dq_write_order_full"),
    ]:
        read = torch.arange(getattr(whole, index).shape[-1]) < getattr(whole, count)[..., None]
        assert torch.equal(getattr(whole, count), getattr(views, count))
        assert getattr(views, index).shape == getattr(whole, index).shape
        assert torch.equal(getattr(views, index)[read], getattr(whole, index)[read])


def test_a_million_tokens_take_no_matrix_of_blocks() -> None:
    made = to_block_mask(window(256), 1 << 20, device="cpu")
    assert made.kv_indices.shape == (1, 1, 8192, 8192)
    assert made.kv_indices.untyped_storage().nbytes() < 1 << 20
    assert made.kv_num_blocks.sum() == 16382
    assert made.full_kv_num_blocks.sum() == 8191


@pytest.mark.parametrize("name", ["causal documents", "table of pairs", "by head", "lists of blocks"])
def test_flex_attention_runs_a_block_mask(name: str) -> None:
    made = to_block_mask(MASKS[name], 128, heads=H, block_size=32, device="cpu")
    q, k, v = torch.randn(3, 1, H, 128, 16, generator=torch.Generator().manual_seed(0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch recommends torch.compile, which takes a compiler here
        found = flex_attention(q, k, v, block_mask=made)
    torch.testing.assert_close(found, attncc.attention(q, k, v, MASKS[name]), atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("name", ["causal", "window or document", "by head", "lists of blocks", "empty"])
def test_a_block_mask_that_is_taken_in_has_the_same_pairs(name: str) -> None:
    made = from_block_mask(create_block_mask(MASKS[name], 1, H, 100, 130, "cpu", 32))
    wanted = attncc.from_mask_mod(MASKS[name])
    assert torch.equal(attncc.dense_mask(made, 100, 130, heads=H), attncc.dense_mask(wanted, 100, 130, heads=H))


def test_a_block_mask_of_its_own_goes_out_and_in() -> None:
    made = to_block_mask(window(30), 100, block_size=32, device="cpu")
    assert torch.equal(attncc.dense_mask(from_block_mask(made), 100), attncc.dense_mask(window(30), 100))


def test_a_block_mask_without_a_mask_mod_is_its_blocks() -> None:
    count, index = torch.tensor([[[1, 2]]], dtype=torch.int32), torch.tensor([[[[1, 0], [0, 1]]]], dtype=torch.int32)
    made = from_block_mask(BlockMask.from_kv_blocks(count, index, BLOCK_SIZE=16))
    seen = torch.tensor([[False, True], [True, True]]).repeat_interleave(16, 0).repeat_interleave(16, 1)
    assert torch.equal(attncc.dense_mask(made, 32).reshape(32, 32), seen)


def test_blocks_that_say_something_else_than_the_mask_mod_are_an_error() -> None:
    made = create_block_mask(causal, None, None, 128, 128, "cpu", 32)
    made.mask_mod = window(40)
    with pytest.raises(PatternError, match=r"Block \(1, 0\) .* is full, and by the mask_mod it is partial"):
        from_block_mask(made)
    made.mask_mod = MASKS["full"]
    with pytest.raises(PatternError, match=r"Block \(0, 1\) .* is not listed"):
        from_block_mask(made)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: to_block_mask(causal, 10, block_size=0), "block_size=0"),
        (lambda: to_block_mask(causal, 10, block_size=(8, 8, 8)), r"block_size=\(8, 8, 8\)"),
        (lambda: to_block_mask(causal), "without q_len"),
        (lambda: to_block_mask(attncc.plan(causal, 10), 10), "q_len=10"),
    ],
)
def test_bad_arguments_are_errors(call: Callable[[], Any], told: str) -> None:
    with pytest.raises(ExportError, match=told):
        call()
