"""neighborhood: grids of one, two and three dimensions against NATTEN's and STA's definitions, written out here.

NATTEN's is that of its release 0.21, csrc/include/natten/cuda/reference/mask.hpp (`get_win_start`, `get_win_end`,
`qkv_fix_dilation`) and src/natten/backends/flex.py; STA's that of "Fast Video Generation with Sliding Tile Attention"
(Zhang et al. 2025), section 3.2.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import attncc
from attncc.errors import ParameterError, ShapeError
from attncc.testing import check_pattern
from attncc_neighborhood import axial, neighborhood_1d, neighborhood_2d, neighborhood_3d, sliding_tiles

DECLARED = {1: neighborhood_1d, 2: neighborhood_2d, 3: neighborhood_3d}
NAMES = {1: ("length",), 2: ("height", "width"), 3: ("depth", "height", "width")}


def line(length: int, kernel: int, dilation: int, stride: int, causal: bool) -> np.ndarray:
    """Return the mask of one axis, query by query."""
    mask = np.zeros((length, length), bool)
    for position in range(length):
        group = list(range(position % dilation, length, dilation))
        place = group.index(position)
        opens = place - place % stride
        if causal:
            leader = min(opens + stride - 1, len(group) - 1)
            window = [at for at in range(leader - kernel + 1, place + 1) if at >= 0]
        else:
            leader = min(opens + stride // 2, len(group) - 1)
            left = kernel // 2
            right = kernel - left - 1
            window = list(range(leader - left, leader + right + 1))
            window = [at - min(window) if min(window) < 0 else at for at in window]
            beyond = max(max(window) - len(group) + 1, 0)
            window = [at - beyond for at in window]
        mask[position, [group[at] for at in window]] = True
    return mask


def on_grid(lines: list[np.ndarray]) -> np.ndarray:
    """Return the mask of a grid, given those of its axes."""
    mask = np.ones((1, 1), bool)
    for each in lines:
        mask = np.kron(mask, each)
    return mask


def beside(mask: np.ndarray, cls: int, text: int) -> np.ndarray:
    return np.pad(mask, (cls, text), constant_values=True)


def parameters(axes: list[dict[str, Any]], **others: int) -> dict[str, Any]:
    """Return the parameters of a neighbourhood, by axis: length, kernel, dilation, stride, causal."""
    found: dict[str, Any] = dict(others)
    for name, axis in zip(NAMES[len(axes)], axes, strict=True):
        end = "" if len(axes) == 1 else f"_{name[0]}"
        found |= {name: axis["length"], **{f"{key}{end}": value for key, value in axis.items() if key != "length"}}
    return found


@st.composite
def an_axis(draw: st.DrawFn, longest: int) -> dict[str, Any]:
    length = draw(st.integers(1, longest))
    dilation = draw(st.integers(1, min(3, length)))
    kernel = draw(st.integers(1, length // dilation))
    stride = draw(st.integers(1, kernel))
    return {"length": length, "kernel": kernel, "dilation": dilation, "stride": stride, "causal": draw(st.booleans())}


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_neighbourhoods_are_nattens(data: st.DataObject) -> None:
    dimensions = data.draw(st.integers(1, 3))
    axes = [data.draw(an_axis({1: 40, 2: 12, 3: 6}[dimensions])) for _ in range(dimensions)]
    cls, text = data.draw(st.integers(0, 2)), data.draw(st.integers(0, 2))
    wanted = beside(on_grid([line(**axis) for axis in axes]), cls, text)
    pattern = DECLARED[dimensions](**parameters(axes, cls=cls, text=text))
    assert np.array_equal(attncc.dense_mask(pattern, len(wanted)).numpy(), wanted)
    assert attncc.plan(pattern, len(wanted)).nnz == wanted.sum()


@pytest.mark.parametrize(
    ("pattern", "n"),
    [
        (neighborhood_1d(length=130, kernel=7, dilation=2), 130),
        (neighborhood_2d(height=24, width=24, kernel_h=5, kernel_w=7), 576),
        (neighborhood_2d(height=17, width=15, kernel_h=4, kernel_w=5, stride_h=3, causal_h=True, dilation_w=2), 255),
        (neighborhood_2d(height=12, width=20, kernel_h=5, kernel_w=6, cls=3, text=5), 248),
        (neighborhood_3d(depth=8, height=6, width=8, kernel_d=3, kernel_h=3, kernel_w=3, causal_d=True), 384),
        (sliding_tiles(height=16, width=24, kernel_h=1, text=7), 391),
        (axial(height=12, width=16).union(), 192),
    ],
    ids=str,
)
def test_a_pattern_agrees_with_the_oracle(pattern: attncc.Pattern, n: int) -> None:
    check_pattern(pattern, lengths=(n,), heads=1, batch=1)


def test_each_query_sees_a_whole_window_at_the_borders_too() -> None:
    pattern = neighborhood_2d(height=20, width=30, kernel_h=5, kernel_w=9)
    assert (attncc.dense_mask(pattern, 600).sum(1) == 45).all()


def test_queries_of_a_stride_share_their_window() -> None:
    pattern = neighborhood_2d(height=32, width=32, kernel_h=16, kernel_w=16, stride_h=8, stride_w=8)
    masks = attncc.dense_mask(pattern, 1024).view(4, 8, 4, 8, 1024)
    assert (masks == masks[:, :1, :, :1]).all()
    [work] = attncc.plan(pattern, 1024, tile=(64, 64)).preferring("blocked").all_passes()
    assert work.tiles.num_partial == 0


@pytest.mark.parametrize("tiles", [(1, 3, 3), (3, 1, 3), (3, 3, 1)])
def test_sliding_tiles_see_whole_tiles(tiles: tuple[int, int, int]) -> None:
    size, number = (2, 4, 2), (3, 4, 5)
    shape = [count * each for count, each in zip(number, size, strict=True)]
    n = int(np.prod(shape))
    pattern = sliding_tiles(
        **dict(zip(NAMES[3], shape, strict=True)),
        **{f"kernel_{name[0]}": kernel for name, kernel in zip(NAMES[3], tiles, strict=True)},
        **{f"tile_{name[0]}": side for name, side in zip(NAMES[3], size, strict=True)},
    )
    tile_of = np.stack(np.unravel_index(np.arange(n), shape)) // np.array(size)[:, None]
    wanted = np.ones((n, n), bool)
    for mine, kernel, count in zip(tile_of, tiles, number, strict=True):
        centre = mine.clip(kernel // 2, count - 1 - kernel // 2)
        wanted &= abs(centre[:, None] - mine[None]) <= kernel // 2
    assert np.array_equal(attncc.dense_mask(pattern, n).numpy(), wanted)


@pytest.mark.parametrize(("first", "last"), [(0, 1), (2, 3), (50, 200), (321, 322)])
def test_queries_may_be_a_part_of_the_tokens(first: int, last: int) -> None:
    pattern = neighborhood_2d(height=16, width=20, kernel_h=5, kernel_w=7, cls=2)
    query, key, value = torch.randn(3, 1, 2, 322, 16, generator=torch.Generator().manual_seed(0))
    whole = attncc.attention(query, key, value, pattern)[:, :, first:last]
    part = attncc.attention(query[:, :, first:last], key, value, pattern, q_offset=first)
    assert torch.allclose(part, whole, atol=1e-6)


def test_axes_take_turns() -> None:
    rows, columns = (attncc.dense_mask(axial(height=6, width=8).layers(n), 48).numpy() for n in (0, 1))
    place = np.arange(48)
    assert np.array_equal(rows, place[:, None] // 8 == place // 8)
    assert np.array_equal(columns, place[:, None] % 8 == place % 8)


@pytest.mark.parametrize(
    ("declared", "values", "names"),
    [
        (neighborhood_1d, {"kernel": 0}, "kernel"),
        (neighborhood_1d, {"length": 8, "kernel": 3, "dilation": 3}, "dilation=3.*length=8"),
        (neighborhood_2d, {"height": 8}, "kernel_h=13.*height=8"),
        (neighborhood_2d, {"dilation_w": 0}, "dilation_w"),
        (neighborhood_2d, {"stride_w": 14}, "stride_w=14.*kernel_w=13"),
        (neighborhood_3d, {"kernel_d": 17}, "kernel_d=17.*depth=16"),
        (neighborhood_3d, {"cls": -1}, "cls"),
        (sliding_tiles, {"tile_w": 7}, "tile_w=7.*width=64"),
        (sliding_tiles, {"kernel_h": 9}, "kernel_h=9.*height=64"),
        (axial, {"height": 0}, "height"),
    ],
)
def test_bad_parameters_are_named(declared: attncc.PatternFactory, values: dict[str, int], names: str) -> None:
    with pytest.raises(ParameterError, match=names):
        declared(**values)


@pytest.mark.parametrize(
    "pattern", [neighborhood_2d(), neighborhood_2d(cls=1), sliding_tiles(), axial().union()], ids=str
)
def test_a_grid_multiplies_to_the_length(pattern: attncc.Pattern) -> None:
    with pytest.raises(ShapeError, match=r"height=64, width=64"):
        attncc.plan(pattern, 64 * 65)


@pytest.mark.parametrize("window", [(4, 1, 2, False), (3, 2, 1, False), (2, 2, 2, True)])
def test_all_dimensions_share_the_rule_of_an_axis(window: tuple[int, int, int, bool]) -> None:
    names = ("kernel", "dilation", "stride", "causal")
    alone = attncc.dense_mask(neighborhood_1d(length=7, **dict(zip(names, window, strict=True))), 7)
    along = {f"{name}_w": value for name, value in zip(names, window, strict=True)}
    assert np.array_equal(
        attncc.dense_mask(neighborhood_2d(height=2, width=7, kernel_h=2, **along), 14), np.tile(alone, (2, 2))
    )
