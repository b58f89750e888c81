"""What is exported rebuilds the dense mask: every catalogue pattern of numbers, and random predicates."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import decoders
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import attncc
from attncc import ExportError, interop
from attncc.frontend import catalog
from attncc.frontend.declarations import Parameter
from attncc.frontend.pages import Pages
from attncc.interop import exported, flashinfer
from attncc.ir.symbols import B, H
from attncc.testing import strategies

#: Random predicates; ATTNCC_EXPORTED=200 draws as many.
EXAMPLES = int(os.environ.get("ATTNCC_EXPORTED", "30"))
LENGTH, SMALL = 48, 5
#: Parameters of patterns whose numbers have to fit each other or LENGTH, by pattern; the others have their defaults.
FITTING: dict[str, dict[str, Any]] = {
    "symmetric_window": {"window": 6, "dilation": 2},
    "axial": {"height": 6, "width": 8},
    "neighborhood_1d": {"length": LENGTH, "kernel": 5, "dilation": 3, "stride": 2},
    "neighborhood_2d": {"height": 6, "width": 8, "kernel_h": 3, "kernel_w": 5, "causal_w": True},
    "neighborhood_3d": {"depth": 3, "height": 4, "width": 4, "kernel_d": 3, "kernel_h": 3, "kernel_w": 3},
    "sliding_tiles": {"height": 6, "width": 8, "tile_h": 2, "tile_w": 2},
    "fixed": {"l": 12, "c": 3, "subblocks": 2},
    "fixed_bidirectional": {"l": 12, "c": 3, "subblocks": 2},
}


def is_number(parameter: Parameter) -> bool:
    return parameter.type in (int, bool)


def value(parameter: Parameter) -> Any:
    """Return a number that matters at LENGTH."""
    if parameter.type is not int:
        return parameter.default
    return max(SMALL, *(int(limits.minimum or 0) for limits in parameter.claims if isinstance(limits, attncc.Bounds)))


NUMBERS = [factory for _, factory in catalog.factories() if all(map(is_number, factory.parameters))]


def refuses(export: Callable[[], Any], reason: str) -> bool:
    """Return whether an export raises an error that says this."""
    try:
        export()
    except ExportError as error:
        if reason not in str(error):
            raise
        return True
    return False


def check(pattern: attncc.Pattern, mask: np.ndarray, q_offset: int = 0, block: tuple[int, int] = (16, 8)) -> None:
    """Check every format of a pattern against its mask, bool (batch, heads, q_len, kv_len)."""
    batch, heads, q_len, kv_len = sizes = mask.shape
    lengths = {"q_len": q_len, "kv_len": kv_len, "q_offset": q_offset}
    made = interop.to_block_mask(pattern, **lengths, heads=heads, batch=batch, block_size=block, device="cpu")
    assert np.array_equal(decoders.mask_mod(made, sizes), mask)
    assert np.array_equal(decoders.from_blocks(made, mask, sizes), mask)
    assert np.array_equal(decoders.from_blocks(made, mask, sizes, by_key=True), mask)
    for by_key in (False, True):
        blocks = interop.to_block_sparsity(
            pattern, **lengths, heads=heads, batch=batch, block_size=block, by_key=by_key
        )
        assert np.array_equal(decoders.from_blocks(blocks, mask, sizes, by_key=by_key), mask)
    ends = interop.to_interval_endpoints(pattern, **lengths, heads=heads, batch=batch)
    assert np.array_equal(decoders.endpoints(ends, sizes), mask)
    bounds = []
    if not refuses(
        lambda: bounds.append(interop.to_column_bounds(pattern, **lengths, heads=heads, batch=batch)), "two ranges"
    ):
        assert np.array_equal(decoders.bounds(bounds[0], sizes), mask)
    else:
        seen = np.pad(mask, ((0, 0), (0, 0), (1, 1), (0, 0)), constant_values=True)
        assert ((seen[..., :-1, :] & ~seen[..., 1:, :]).sum(axis=2) > 2).any()
    if H in pattern.free:
        assert refuses(lambda: interop.to_slices(pattern, **lengths), "differs by head")
        return
    found = interop.to_slices(pattern, **lengths, batch=batch)
    assert np.array_equal(decoders.slices(found, sizes), mask)
    bits = interop.to_packed_mask(pattern, **lengths, batch=batch)
    assert np.array_equal(decoders.packed(bits, sizes), mask)
    if B in pattern.free:
        assert refuses(lambda: interop.to_block_sparse_rows(pattern, **lengths), "differs by batch entry")
        return
    variable = interop.to_variable_blocks(pattern, **lengths, heads=heads)
    assert np.array_equal(decoders.variable_blocks(variable, sizes), mask)
    if kv_len % block[1]:
        assert refuses(lambda: interop.to_block_sparse_rows(pattern, **lengths, block_size=block), "are whole")
        return
    rows = interop.to_block_sparse_rows(pattern, **lengths, block_size=block)
    assert np.array_equal(decoders.block_rows(rows, sizes), mask)


@pytest.mark.parametrize("factory", NUMBERS, ids=lambda factory: factory.name)
def test_a_catalogue_pattern_is_rebuilt_from_each_format(factory: attncc.PatternFactory) -> None:
    pattern = factory(**FITTING.get(factory.name, {p.name: value(p) for p in factory.parameters}))
    mask = attncc.dense_mask(pattern, LENGTH, heads=2, batch=2).numpy()
    mask = mask.reshape((2 if B in pattern.free else 1, 2 if H in pattern.free else 1, LENGTH, LENGTH))
    check(pattern, np.broadcast_to(mask, (2, 2, LENGTH, LENGTH)))


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(strategies.cases(), st.sampled_from([(16, 8), (5, 3), (1, 1), (64, 32)]))
def test_a_random_predicate_is_rebuilt_from_each_format(case: strategies.Case, block: tuple[int, int]) -> None:
    mask = np.broadcast_to(case.mask, (case.batch, case.heads, case.q_len, case.kv_len))
    check(case.pattern, mask, case.q_offset, block)


def test_pages_have_no_export() -> None:
    pages = Pages(np.zeros((1, 4), np.int64), np.array([16]), 4)
    with pytest.raises(ExportError, match="reads keys from pages"):
        interop.to_slices(pages.on(attncc.load("causal")), 16)


def test_too_many_variable_blocks_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flashinfer, "MOST_BLOCKS", 100)
    with pytest.raises(ExportError, match="changes at 21 queries and 21 keys"):
        interop.to_variable_blocks(attncc.load("causal"), 20)


def test_more_positions_than_32_bits_count_are_an_error() -> None:
    with pytest.raises(ExportError, match="A query position of 2,147,483,648"):
        exported.int32("A query position", np.array([1 << 31]))


def test_a_causal_window_is_two_slices_and_one_bound() -> None:
    window = attncc.load("sliding_window", window=16)
    slices = interop.to_slices(window, 64)
    assert slices.q_ranges.tolist() == [[0, 15], [15, 64]]
    assert slices.k_ranges.tolist() == [[0, 15], [0, 64]]
    assert slices.attn_type_map.tolist() == [1, 3]
    bounds = interop.to_column_bounds(window, 64)
    assert bounds.causal
    assert bounds.startend_row_indices.flatten().tolist() == [min(j + 16, 64) for j in range(64)]


def test_full_blocks_need_no_mask() -> None:
    rows = interop.to_block_sparse_rows(attncc.load("block_diagonal", block=16), 40, 48, block_size=16)
    assert rows.mask is rows.packed_mask is rows.mask_indptr is None
    assert rows.indptr.tolist() == [0, 1, 2, 3]
    assert rows.indices.tolist() == [0, 1, 2]


def test_a_million_bounds_follow_from_intervals() -> None:
    """No pair is looked at, and nothing is sorted that is in order: well below a second."""
    n = 1 << 20
    bounds = interop.to_column_bounds(attncc.load("sliding_window", window=256), n)
    wanted = np.minimum(np.arange(n) + 256, n)
    assert bounds.causal
    assert np.array_equal(bounds.startend_row_indices.flatten().numpy(), wanted)
