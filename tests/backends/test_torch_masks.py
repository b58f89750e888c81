"""Masks of the torch backend's items: their values, sharing, and caching between calls."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import attncc
from attncc.backends.torch import masks
from attncc.backends.torch.config import Tiling
from attncc.backends.torch.lower import schedule
from attncc.backends.torch.masks import Mask
from attncc.ir.evaluate import evaluate_predicate
from attncc.ir.symbols import I, J
from attncc.testing import check_pattern

CPU = torch.device("cpu")


@attncc.pattern
def picture(i, j, *, W: int, r: int = 3):
    """The tokens of an image whose rows and columns are at most r apart."""
    return (abs(i // W - j // W) <= r) & (abs(i % W - j % W) <= r)


@attncc.pattern
def scattered(i, j, *, share: int):
    return (7919 * i + 104729 * j + i * j % 1009) % 1000003 < share


@pytest.fixture(autouse=True)
def empty_cache():
    masks._kept.cache.clear()
    yield
    masks._kept.cache.clear()


def of_items(pattern: attncc.Pattern, length: int) -> list[Mask]:
    plan = attncc.plan(pattern, length, tile=(64, 64)).preferring("split")
    works = schedule(plan.groups[0].passes, length, Tiling()).tile_batches
    return [work.mask for work in works if work.mask is not None]


def drawn(items: int, rows: int, keys: int) -> Mask:
    """A mask with key ranges, a residual, padded keys, and a row that sees none."""
    query = 40 * np.arange(items)[:, None] + np.arange(rows)
    key = np.arange(keys) + np.zeros((items, 1), np.int64)
    start, stop = np.full((items, rows), 3), np.full((items, rows), keys - 2)
    stop[:, 1] = 0
    slot = np.where(key < keys - 1, key, -1)
    return Mask(start, stop, slot, scattered(share=500_000).predicate, query, key)


@pytest.mark.parametrize("part", [16, 100, 1 << 16])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_masks_add_zero_for_seen_keys_and_minus_infinity_elsewhere(
    dtype: torch.dtype, part: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(masks, "PART", part)
    mask = drawn(5, 7, 30)
    slot = mask.key_slot[:, None]
    seen = (mask.start[..., None] <= slot) & (slot < mask.stop[..., None])
    seen &= evaluate_predicate(mask.residual, {I: mask.query[..., None], J: mask.key[:, None]})
    for first, last in ((0, 5), (1, 4)):
        found = mask.chunk(first, last).additive(CPU, dtype)
        wanted = torch.where(torch.as_tensor(seen[first:last]), 0.0, -torch.inf).to(dtype)
        assert found.bias.dtype == dtype
        assert torch.equal(found.bias[0], wanted)
        assert found.empty is not None
        assert torch.equal(found.empty[0], torch.as_tensor(~seen[first:last].any(-1)))


@pytest.mark.parametrize(("width", "distinct"), [(64, 1), (128, 2), (48, 3)])
def test_items_whole_periods_apart_share_a_mask(width: int, distinct: int) -> None:
    """A tile of 64 begins at the same column of the image every width / 64 tiles, and 48 * 4 = 64 * 3."""
    found = of_items(picture(W=width), width * width)
    widest = max(mask.key_slot.shape[1] for mask in found)
    inner = [mask for mask in found if mask.key_slot.shape[1] == widest]
    assert all(mask.shared for mask in inner)
    assert len(inner) == distinct


def test_image_windows_conform() -> None:
    check_pattern(picture(W=16, r=1), lengths=(256, 250))


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the pairs of each evaluation of a predicate from now on."""
    pairs: list[int] = []

    def evaluated(predicate, env):
        holds = evaluate_predicate(predicate, env)
        pairs.append(holds.numel())
        return holds

    monkeypatch.setattr(masks, "evaluate_predicate", evaluated)
    return pairs


@pytest.mark.parametrize(("most", "times"), [(1 << 20, 1), (1000, 2)], ids=["kept", "too large"])
def test_small_masks_are_evaluated_once(monkeypatch: pytest.MonkeyPatch, most: int, times: int) -> None:
    monkeypatch.setattr(masks, "MOST_KEPT", most)
    pairs = counted(monkeypatch)
    query, key, value = (torch.randn(1, 2, 640, 16) for _ in range(3))
    pattern = scattered(share=20_000 + times)
    config = {"forward.plan": "split", "forward.chunk": 1 << 17}
    first = attncc.attention(query, key, value, pattern, config=config)
    again = attncc.attention(query, key, value, pattern, config=config)
    assert torch.equal(first, again)
    assert sum(pairs) == times * 640 * 640


def test_masks_are_kept_while_room_remains() -> None:
    assert masks.MOST_KEPT <= masks.POOL
    several = [drawn(3, 8, keys) for keys in (16, 20, 24, 28)]
    for mask in [*several, drawn(3, 8, 20)]:
        mask.additive(CPU, torch.float32)
    kept = masks._kept.cache
    assert len(kept) == 4
    assert kept.currsize == sum(mask.pairs for mask in several)
    assert kept.maxsize == masks.POOL


@attncc.pattern
def shifted(i, j, *, W: int, k: int = 5):
    """The k x k tokens of an image around the query, moved inwards at its borders."""
    seen = True
    for query, key in zip(attncc.grid(i, (W, W)), attncc.grid(j, (W, W)), strict=True):
        start = attncc.minimum(attncc.maximum(query - k // 2, 0), W - k)
        seen = seen & (start <= key) & (key < start + k)
    return seen


def test_boxes_that_are_alike_share_a_mask() -> None:
    plan = attncc.plan(shifted(W=48), 48 * 48, tile=(64, 64)).preferring("blocked")
    works = schedule(plan.groups[0].passes, 48 * 48, Tiling()).tile_batches
    assert [(work.rows.items, work.mask and len(work.mask.start)) for work in works] == [(4, 4), (16, 16), (16, 1)]
    check_pattern(shifted(W=24), lengths=(576,), heads=1, batch=1)


def test_a_mask_is_shared_only_by_items_that_compare_the_same() -> None:
    for mask in of_items(shifted(W=64), 4096):
        holds = mask._looked_at(CPU).pairs.numpy() == 0
        for item in range(len(mask.start)):
            env = {I: mask.query[item][:, None], J: mask.key[item][None]}
            inside = (mask.start[item][:, None] <= mask.key_slot[item]) & (
                mask.key_slot[item] < mask.stop[item][:, None]
            )
            assert np.array_equal(holds[item], evaluate_predicate(mask.residual, env) & inside)


@pytest.mark.parametrize("keys", [16, 20])
def test_rows_that_see_no_key_are_told(keys: int) -> None:
    mask = drawn(3, 8, keys)
    found = mask.additive(CPU, torch.float32)
    assert found.empty is not None
    np.testing.assert_array_equal(found.empty[0], (found.bias[0] == -torch.inf).all(-1))
    assert found.empty[0, :, 1].all()
    assert not found.empty.all()


@attncc.pattern
def first(j, *, length: int):
    return j < length


def test_a_residual_of_one_side_hides_whole_columns() -> None:
    key = np.arange(8)[None]
    mask = Mask(np.zeros((1, 5), int), np.full((1, 5), 8), key, first(length=3).predicate, key[:, :5], key)
    bias = mask.additive(CPU, torch.float32).bias
    np.testing.assert_array_equal(bias[0, 0] == 0, np.broadcast_to(np.arange(8) < 3, (5, 8)))
