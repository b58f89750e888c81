"""Tables and their pyramids of minima and maxima."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from attncc.ir.pyramid import Pyramid
from attncc.ir.tables import TableData


@pytest.mark.parametrize("shape", [(1,), (37,), (64,), (9, 5), (1, 33)])
def test_pyramids_bound_ranges_and_are_exact_for_single_entries(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    data = rng.integers(-50, 50, shape)
    low = np.stack([rng.integers(0, n, 100) for n in shape])
    high = np.stack([rng.integers(lo, n) for lo, n in zip(low, shape, strict=True)])
    found = Pyramid(data).bounds(list(zip(low, high, strict=True)))
    for n in range(100):
        box = data[tuple(slice(lo, hi + 1) for lo, hi in zip(low[:, n], high[:, n], strict=True))]
        assert found[0][n] <= box.min()
        assert found[1][n] >= box.max()
    point = Pyramid(data).bounds(list(zip(low, low, strict=True)))
    np.testing.assert_array_equal(point[0], data[tuple(low)])
    np.testing.assert_array_equal(point[1], data[tuple(low)])


@pytest.mark.parametrize("shape", [(1,), (37,), (9, 6), (64, 64), (2, 3, 16)])
def test_boolean_pyramids_are_small_and_exact_on_aligned_boxes(shape: tuple[int, ...]) -> None:
    """With eight bytes an entry, the blocks of a million tokens would take two gigabytes."""
    data = np.random.default_rng(0).random(shape) < 0.2
    pyramid = Pyramid(data)
    made = [level for pair in pyramid.levels[1:] for level in pair]
    assert all(level.dtype == bool for level in made)
    assert sum(level.nbytes for level in made) <= 2 * (data.nbytes + len(made))
    for side in (1, 2, 4, 8):
        low = np.stack([x.reshape(-1) * side for x in np.indices([-(-n // side) for n in shape])])
        high = np.minimum(low + side, np.array(shape)[:, None]) - 1
        boxes = [tuple(slice(*ends) for ends in zip(a, b, strict=True)) for a, b in zip(low.T, high.T + 1, strict=True)]
        least, greatest = pyramid.bounds(list(zip(low, high, strict=True)))
        assert least.tolist() == [data[box].min() for box in boxes]
        assert greatest.tolist() == [data[box].max() for box in boxes]


def test_tensors_lists_and_arrays_are_copied() -> None:
    source = np.arange(5)
    table = TableData(source)
    source[0] = 9
    assert table.data[0] == 0
    assert TableData(torch.arange(5)).digest == table.digest == TableData([0, 1, 2, 3, 4]).digest
    with pytest.raises(ValueError, match="read-only"):
        table.data[0] = 1


@pytest.mark.parametrize("most", [127, 128, 32767, 32768, 2**31 - 1, 2**31, 2**63 - 1])
def test_digests_tell_apart_entries_of_all_sizes(most: int) -> None:
    tables = [[0, most], [0, most - 1], [1, most], [0, -most], [-1, most], [0, -1 - most], [0, most, 0]]
    digests = [TableData(np.array(table, np.int64)).digest for table in tables]
    assert len(set(digests)) == len(tables)
    for kind in (np.int8, np.int16, np.int32, np.uint32):
        if most <= np.iinfo(kind).max:
            assert TableData(np.array([0, most], kind)).digest == digests[0]


@pytest.mark.parametrize("entries", [[0, (1 << 31) - 1], [3, 1 << 31], [-1, 5], [-(1 << 31), 0], [1 - (1 << 31), 7]])
def test_narrow_tables_fit_32_bits_with_either_sign(entries: list[int]) -> None:
    assert TableData(entries).is_narrow == all(abs(entry) < 1 << 31 for entry in entries)


def test_boolean_tables_differ_from_integers() -> None:
    assert TableData([True, False]).digest != TableData([1, 0]).digest
    assert TableData([True, False]).is_boolean
