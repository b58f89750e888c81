"""The torch backend's parts: slots, merging, kernels, configuration, memory."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import attncc
from attncc.backends.base import Saved
from attncc.backends.logsum import LogSum
from attncc.backends.merge import merge
from attncc.backends.slots import Slots
from attncc.backends.torch.config import Tiling
from attncc.backends.torch.kernels import FlashCPU, Written
from attncc.backends.torch.launches import GroupLaunches, PlanLaunches
from attncc.backends.torch.lower import schedule

ROWS = {
    "blocks": np.arange(24).reshape(4, 6),
    "overlapping windows": np.arange(4)[:, None] * 3 + np.arange(7),
    "classes": np.arange(4)[:, None] + np.arange(5) * 4,
    "one item": np.array([[2, 5, 8]]),
    "scattered": np.array([[3, 1, 7], [0, 9, 2]]),
    "repeated": np.array([[3, 1, 7], [1, 3, 8]]),
    "one row each": np.array([[4], [2], [9]]),
}


@pytest.mark.parametrize("name", ROWS)
def test_slots_agree_with_indexing(name: str) -> None:
    rows = ROWS[name]
    slots = Slots.of(rows)
    x = torch.randn(2, 30, 3)
    np.testing.assert_array_equal(slots.rows(), rows)
    torch.testing.assert_close(slots.take(x), x[:, rows])
    part = torch.randn(2, *rows.shape, 3)
    added, wanted = x.clone(), x.clone()
    slots.add(added, part)
    wanted.index_put_((torch.arange(2)[:, None, None], torch.as_tensor(rows)), part, accumulate=True)
    torch.testing.assert_close(added, wanted)
    if len(np.unique(rows)) == rows.size:
        put = x.clone()
        slots.put(put, part)
        torch.testing.assert_close(put[:, rows], part)
    np.testing.assert_array_equal(slots.chunk(0, 1).rows(), rows[:1])


@pytest.mark.parametrize("remainder", [False, True])
def test_merging_handles_empty_parts(remainder: bool) -> None:
    out, lse = torch.zeros(1, 4, 2), torch.tensor([[-math.inf, -math.inf, 0.0, 100.0]])
    part_lse = torch.tensor([[[-math.inf, 1.0, -math.inf, -100.0]]])
    part = (part_lse > -math.inf).float().unsqueeze(-1).expand(1, 1, 4, 2)
    sums = [LogSum(x, torch.zeros_like(x) if remainder else None) for x in (lse, part_lse)]
    merge(Slots.of(np.arange(4)[None]), out, sums[0], part, sums[1])
    assert not out.isnan().any()
    torch.testing.assert_close(out[0, :, 0], torch.tensor([0.0, 1.0, 0.0, 0.0]))
    torch.testing.assert_close(lse[0], torch.tensor([-math.inf, 1.0, 0.0, 100.0]))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_the_written_kernel_agrees_with_the_flash_op(causal: bool, masked: bool) -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 3, 20, 8, dtype=torch.float64) for _ in range(3))
    bias = torch.zeros(1, 3, 20, 20, dtype=torch.float64).masked_fill(torch.rand(3, 20, 20) < 0.3, -math.inf)
    bias[..., 0] = 0
    arguments = (bias if masked else None, causal, 0.3)
    out, lse = FlashCPU().forward(q, k, v, *arguments)
    written = Written().forward(q, k, v, *arguments)
    torch.testing.assert_close((written[0], written[1].value), (out, lse.value))
    grad = torch.randn_like(out)
    saved = Saved(q, k, v, (), out, lse)
    one, other = (kernel.backward(saved, grad, *arguments) for kernel in (Written(), FlashCPU()))
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b)


def test_the_flash_op_of_one_key_agrees_with_the_written_kernel() -> None:
    torch.manual_seed(0)
    q, k, v = torch.randn(2, 3, 5, 8), torch.randn(2, 3, 1, 8), torch.randn(2, 3, 1, 8)
    out, lse = FlashCPU().forward(q, k, v, None, False, -0.3)
    written = Written().forward(q, k, v, None, False, -0.3)
    torch.testing.assert_close((out, lse.value), (written[0], written[1].value))
    assert out.stride(2) == 0  # nothing was written
    q[0, 1, 2, 3] = math.inf
    assert FlashCPU().forward(q, k, v, None, False, -0.3)[0].stride(2) != 0


def test_results_of_one_key_share_no_memory_with_the_value() -> None:
    q, k, v = torch.randn(1, 2, 7, 8), torch.randn(1, 2, 1, 8), torch.randn(1, 2, 1, 8)
    for rows in (1, 7):
        out = attncc.attention(q[:, :, :rows], k, v, attncc.load("full"))
        assert out.untyped_storage().data_ptr() != v.untyped_storage().data_ptr()
        torch.testing.assert_close(out, v.expand_as(out))


@pytest.mark.parametrize("name", ["written", "written in row blocks"])
def test_patterns_conform_under_the_written_kernel(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from attncc.testing import check_pattern

    monkeypatch.setattr("attncc.backends.torch.execute.kernel_for", lambda device: Written())
    if "blocks" in name:
        monkeypatch.setattr("attncc.backends.torch.kernels.MAX_SCORES", 1000)
    for pattern in ("strided", "fixed", "prefix"):
        check_pattern(attncc.load(pattern), lengths=(130, 300))


def test_chunks_bound_the_scores_of_a_call() -> None:
    plan = attncc.plan(attncc.load("strided", l=32), 2048, tile=(64, 64))
    found = schedule(plan.groups[0].passes, 2048, Tiling())
    assert found.covered
    for work in found.tile_batches:
        parts = list(work.chunks(50_000))
        assert sum(part.rows.items for part in parts) == work.rows.items
        assert all(part.scores * part.rows.items <= max(50_000, work.scores) for part in parts)


def test_windows_share_one_mask() -> None:
    plan = attncc.plan(attncc.load("sliding_window", window=256), 8192, tile=(64, 64))
    masks = [
        work.mask for work in schedule(plan.groups[0].passes, 8192, Tiling()).tile_batches if work.mask is not None
    ]
    assert masks
    assert all(mask.shared for mask in masks)


def test_only_the_window_of_a_strided_plan_needs_masks() -> None:
    plan = attncc.plan(attncc.load("strided", l=128), 8192, tile=(64, 64))
    _, column = plan.groups[0].passes
    assert column.layout.kind == "sorted"
    assert all(work.mask is None for work in schedule((column,), 8192, Tiling()).tile_batches)


def test_full_tiles_beside_a_few_others_need_no_mask() -> None:
    """Rows of blocks of 64 that see 8 whole blocks and a triangle of their own: the triangles alone are masked."""
    blocks = np.random.default_rng(0).permuted(np.tile(np.arange(8), (8, 1)), axis=1)
    pattern = attncc.load("moba", blocks=np.pad(blocks, ((8, 0), (0, 0)), constant_values=-1), queries=64)
    plan = attncc.plan(pattern, 1024, tile=(64, 64), target="cpu").preferring("fused")
    parts = schedule(plan.groups[0].passes, 1024, Tiling()).tile_batches
    assert {tiles.cols.length for tiles in parts if tiles.mask is not None} == {64}
    assert {tiles.cols.length for tiles in parts if tiles.mask is None} == {512}


@pytest.mark.parametrize(("shortest", "has_triangles"), [(100, True), (20, False)])
def test_small_segments_of_many_shapes_are_tiles_with_masks(shortest: int, has_triangles: bool) -> None:
    lengths = np.arange(shortest, shortest + 20)
    ids, total = np.repeat(np.arange(len(lengths)), lengths), int(lengths.sum())
    plan = attncc.plan(attncc.load("document", ids=ids).causal(), total)
    parts = schedule(plan.groups[0].passes, total, Tiling()).tile_batches
    assert all(tiles.causal == has_triangles and (tiles.mask is None) == has_triangles for tiles in parts)


def test_items_of_one_class_are_views() -> None:
    plan = attncc.plan(attncc.load("dilated_window", window=32, dilation=4), 1024, tile=(64, 64))
    works = schedule(plan.groups[0].passes, 1024, Tiling()).tile_batches
    assert all(work.rows.index is None and work.cols.index is None for work in works)
    rows = np.concatenate([work.rows.rows().ravel() for work in works if work.first])
    assert sorted(rows) == list(range(1024))


@pytest.mark.parametrize("window", [5, 32, 100])
def test_dilated_windows_over_several_tiles_conform(window: int) -> None:
    from attncc.testing import check_pattern

    check_pattern(attncc.load("dilated_window", window=window, dilation=3), lengths=(301, 600))


@pytest.mark.parametrize(("row_step", "item_step", "length"), [(4, 8, 5), (4, 4, 7), (3, 6, 2), (2, 3, 4), (1, 2, 6)])
def test_overlapping_strided_rows_get_every_contribution(row_step: int, item_step: int, length: int) -> None:
    slots = Slots((6, length), 1, (item_step, row_step))
    found, wanted = torch.zeros(2, 80, 3), torch.zeros(2, 80, 3)
    part = torch.randn(2, 6, length, 3)
    slots.add(found, part)
    wanted.index_add_(1, torch.as_tensor(slots.rows().ravel()), part.flatten(1, 2))
    torch.testing.assert_close(found, wanted)


def test_a_value_that_is_a_view_of_its_key_is_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    query, key = torch.randn(1, 4, 30, 48), torch.randn(1, 1, 30, 48)
    pattern = attncc.load("strided", l=4)
    wanted = attncc.attention(query, key, key[..., :40].contiguous(), pattern, enable_gqa=True, backend="torch")
    monkeypatch.setattr("attncc.backends.torch.execute.pad", None)
    found = attncc.attention(query, key, key[..., :40], pattern, enable_gqa=True, backend="torch")
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("with_lse", [False, True])
def test_gradients_of_a_key_and_its_view_add_up(with_lse: bool) -> None:
    query, key = (torch.randn(2, heads, 70, 24, dtype=torch.float64, requires_grad=True) for heads in (4, 2))

    def gradients(backend: str) -> tuple[torch.Tensor, ...]:
        out, lse = attncc.attention(
            query, key, key[..., :16], attncc.load("strided", l=8), enable_gqa=True, return_lse=True, backend=backend
        )
        return torch.autograd.grad(out.sin().sum() + with_lse * lse.sin().sum(), (query, key))

    for found, wanted in zip(gradients("torch"), gradients("reference"), strict=True):
        torch.testing.assert_close(found, wanted)


def launches(pattern: attncc.Pattern, q_len: int, kv_len: int, *heads: int, **shape: int) -> GroupLaunches:
    plan = attncc.plan(pattern, q_len, kv_len, tile=(64, 64), **shape)
    query, key = (torch.empty(2, count, 1, 8) for count in heads)
    [group] = PlanLaunches(plan, Tiling(), one_head=False).on(query, key)
    return group


def test_one_launch_computes_short_causal_attention_at_once() -> None:
    found = launches(attncc.load("causal"), 40, 40, 3, 3)
    assert (found.rows_at_once, found.keys_at_once, len(found.launches)) == (True, True, 1)
    grouped = launches(attncc.load("causal"), 40, 40, 6, 3)
    assert (grouped.rows_at_once, len(grouped.launches)) == (False, 2), "a causal launch is for one head"


def test_one_launch_computes_a_decoding_step_at_once() -> None:
    found = launches(attncc.load("sliding_window", window=16), 1, 100, 6, 3, q_offset=99)
    assert (found.rows_at_once, found.keys_at_once, len(found.launches)) == (True, False, 1)
    assert found.launches[0].heads == 2
    assert found.launches[0].tiles.cols.rows().tolist() == [list(range(84, 100))]


def test_launches_are_kept_for_the_last_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("attncc.backends.torch.launches.MOST_SIZES", 3)
    plan = PlanLaunches(attncc.plan(attncc.load("causal"), 8), Tiling(), one_head=False)
    for batch in range(1, 9):
        x = torch.empty(batch, 2, 8, 4)
        assert plan.on(x, x) is plan.on(x, x)
        assert len(plan._kept) <= 3


LAYOUTS = {
    "contiguous": lambda x: x,
    "positions before heads": lambda x: x.transpose(1, 2).contiguous().transpose(1, 2),
    "batch last": lambda x: x.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2),
    "part of more heads": lambda x: torch.cat([x, x], 1)[:, : x.shape[1]],
    "part of more rows": lambda x: torch.cat([x, x], 2)[:, :, : x.shape[2]],
}


@pytest.mark.parametrize("heads", [(1, 1), (4, 4), (4, 2), (2, 1)], ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["causal", "sliding_window", "strided", "fixed", "heads"])
def test_layouts_of_tensors_change_nothing(name: str, layout: str, heads: tuple[int, int]) -> None:
    pattern = attncc.load("strided", l=8).heads() if name == "heads" else attncc.load(name)
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(3, count, 70, 8, generator=generator) for count in (heads[0], heads[1], heads[1])]

    def results(chosen: str) -> list[torch.Tensor]:
        leaves = [LAYOUTS[chosen](x).requires_grad_() for x in inputs]
        out, lse = attncc.attention(*leaves, pattern, enable_gqa=True, return_lse=True, backend="torch")
        return [out, lse, *torch.autograd.grad(out.square().sum() + lse.sum(), leaves)]

    for found, wanted in zip(results(layout), results("contiguous"), strict=True):
        assert found.is_contiguous()
        torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("size", [0.0, 1e-25, 1e-15, 1e-6, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_of_lse_add_up_with_those_of_out_of_any_size(size: float, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    sides = [torch.randn(1, 2, 70, 8, generator=generator, dtype=dtype).requires_grad_() for _ in range(3)]
    grad_out, grad_lse = (
        torch.randn(*shape, generator=generator, dtype=dtype) for shape in ((1, 2, 70, 8), (1, 2, 70))
    )
    grad_out[:, :, ::3] = 0.0
    scores = (sides[0] @ sides[1].mT / math.sqrt(8)).masked_fill(torch.ones(70, 70).triu(1).bool(), -math.inf)
    wanted = torch.autograd.grad(
        (torch.softmax(scores, -1) @ sides[2], scores.logsumexp(-1)), sides, (grad_out * size, grad_lse)
    )
    results = attncc.attention(*sides, attncc.load("causal"), return_lse=True, backend="torch")
    found = torch.autograd.grad(results, sides, (grad_out * size, grad_lse))
    for own, right in zip(found, wanted, strict=True):
        torch.testing.assert_close(own, right, rtol=1e-4, atol=1e-5 * float(right.abs().max()))
