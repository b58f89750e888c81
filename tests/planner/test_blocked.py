"""Blocked layouts: grids are found in what clauses compare, laid out box by box, and their tiles are proved."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import attncc
from attncc.backends.reference.mask import as_broadcast
from attncc.planner.blocked import BOX, blocked
from attncc.planner.layout import Layout
from attncc.planner.passes import Alternative
from attncc.planner.relation import relate
from attncc.planner.search import possible_clauses
from attncc.planner.shape import Shape
from attncc.testing.check import check_attention, check_plan
from attncc.testing.oracle import Problem

CPU, GPU = "cpu", "h100"


@attncc.pattern
def image(i, j, *, width: int, r: int = 3, dilation: int = 1, before: int = 0):
    """Tokens whose rows and columns are at most r steps of `dilation` apart, and `before` tokens that all see."""
    (row, col), (key_row, key_col) = (attncc.grid(x - before, (1, width)) for x in (i, j))
    near = True
    for a, b in ((row, key_row), (col, key_col)):
        near = near & (abs(a // dilation - b // dilation) <= r) & (a % dilation == b % dilation)
    return near & (i >= before) & (j >= before) | (j < before)


@attncc.pattern
def video(i, j, *, height: int, width: int, r: int = 1):
    (frame, row, col), other = (attncc.grid(x, (1, height, width)) for x in (i, j))
    seen = True
    for a, b in zip((frame, row, col), other, strict=True):
        seen = seen & (abs(a - b) <= r)
    return seen


@attncc.pattern
def tilted(i, j, *, width: int, steep: int):
    """Columns are compared with what depends on the row: bands need not be of the same digit on both sides."""
    return (
        (abs(i // width - j // width) <= 2)
        & (j % width - i % width - i // width // steep >= -2)
        & (j % width - i % width <= 3)
    )


def alternatives(pattern: attncc.Pattern, n: int, target: str = CPU) -> dict[str, Alternative]:
    plan = attncc.plan(pattern, n, tile=(64, 64), target=target)
    return {way.name: way for way in plan.groups[0].alternatives}


def layout_of(pattern: attncc.Pattern, n: int) -> Layout | None:
    shape = Shape(n, n)
    [clause] = possible_clauses(pattern.predicate, shape)
    return blocked(clause, relate(clause, n), shape)


def spans(positions: np.ndarray, width: int) -> tuple[int, int]:
    return int(np.ptp(positions // width)) + 1, int(np.ptp(positions % width)) + 1


def test_a_tile_is_a_box_of_the_image() -> None:
    layout = layout_of(image(width=32), 1024)
    assert layout is not None
    assert layout.kind == "blocked"
    for axis in (layout.rows, layout.cols):
        assert sorted(axis.places) == list(range(1024))
        assert {spans(tile, 32) for tile in axis.places.reshape(-1, BOX)} == {(8, 8)}


def test_a_tile_is_a_box_of_the_video() -> None:
    layout = layout_of(video(height=8, width=12), 8 * 8 * 12)
    assert layout is not None
    for tile in layout.cols.places.reshape(-1, BOX):
        assert [len(np.unique(x)) for x in np.unravel_index(tile, (8, 8, 12))] == [4, 4, 4]


def test_cut_off_boxes_follow_the_whole_ones() -> None:
    layout = layout_of(image(width=18), 18 * 27)
    assert layout is not None
    whole = layout.rows.places[: 6 * BOX].reshape(-1, BOX)
    assert {spans(tile, 18) for tile in whole} == {(8, 8)}
    strip = layout.rows.places[6 * BOX :]
    assert ((strip // 18 >= 24) | (strip % 18 >= 16)).all()


def test_classes_of_a_dilation_are_boxes_of_their_own() -> None:
    layout = layout_of(image(width=32, dilation=2), 1024)
    assert layout is not None
    for tile in layout.rows.places.reshape(-1, BOX):
        row, col = tile // 32, tile % 32
        assert np.unique(row).tolist() == list(range(row[0], row[0] + 16, 2))
        assert np.unique(col).tolist() == list(range(col[0], col[0] + 16, 2))


@pytest.mark.parametrize(
    "pattern",
    [
        attncc.load("sliding_window", window=9),
        attncc.load("strided", l=16).union(),
        attncc.load("document", ids=np.arange(256) // 7),
        image(width=16, r=3, dilation=16),
        image(width=256, r=3),
    ],
    ids=repr,
)
def test_other_patterns_have_no_grid(pattern: attncc.Pattern) -> None:
    assert "blocked" not in alternatives(pattern, 256)


def test_few_tiles_are_visited_outside_of_the_neighbourhoods() -> None:
    ways = alternatives(image(width=64, r=6), 4096, target=GPU)
    [work], [natural] = ways["blocked"].passes, ways["split"].passes
    assert work.tiles.num_tiles == 22**2  # of 8 rows and columns of boxes, those at the ends see two and others three
    assert natural.tiles.visited > 1.5 * work.tiles.visited
    assert next(iter(ways)) == "blocked"


def test_a_library_gathers_no_key_that_no_query_of_the_box_sees() -> None:
    [work] = alternatives(image(width=64, r=6), 4096)["blocked"].passes
    assert (work.block_m, work.block_n) == (BOX, 1)
    assert work.tiles.visited == BOX * (6 * 20 + 2 * 14) ** 2


def test_explain_shows_the_alternative() -> None:
    made = attncc.plan(image(width=32), 1024)
    assert "layout blocked" in str(made.preferring("blocked"))
    assert "blocked (blocked)" in str(made.preferring("split"))


CASES = [
    (image(width=24), 576),
    (image(width=19, r=2), 19 * 21),
    (image(width=21, r=2, dilation=2), 21 * 20),
    (image(width=16, before=3), 16 * 16 + 3),
    (video(height=6, width=8), 6 * 48),
    (tilted(width=20, steep=4), 20 * 17),
]


@pytest.mark.parametrize(("pattern", "n"), CASES, ids=str)
def test_tiles_and_counts_agree_with_the_mask(pattern: attncc.Pattern, n: int) -> None:
    mask = attncc.dense_mask(pattern, n).numpy()
    for target in (CPU, GPU):
        made = attncc.plan(pattern, n, tile=(64, 32), target=target)
        assert "blocked" in [way.name for way in made.groups[0].alternatives]
        check_plan(made, mask)


@pytest.mark.parametrize("backend", ["torch", "triton"])
@pytest.mark.parametrize(("pattern", "n"), CASES[1:5], ids=str)
def test_outputs_and_gradients_agree_with_the_oracle(backend: str, pattern: attncc.Pattern, n: int) -> None:
    config = {f"{direction}.plan": "blocked" for direction in ("forward", "backward")}
    mask = as_broadcast(attncc.dense_mask(pattern, n), pattern)
    problem = Problem.drawn(n, n, batch=1, heads=2, kv_heads=1, dtype=torch.float32)
    check_attention(pattern, mask, problem, backend=backend, config=config)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_any_grid_and_part_of_its_queries(data: st.DataObject) -> None:
    width, height = data.draw(st.integers(9, 24)), data.draw(st.integers(9, 20))
    pattern = image(
        width=width,
        r=data.draw(st.integers(0, 5)),
        dilation=data.draw(st.integers(1, 3)),
        before=data.draw(st.integers(0, 4)),
    )
    n = width * height + data.draw(st.integers(0, 9))
    offset = data.draw(st.integers(0, n // 2))
    made = attncc.plan(
        pattern, n - offset, n, q_offset=offset, tile=(32, 32), target=data.draw(st.sampled_from([CPU, GPU]))
    )
    check_plan(made, attncc.dense_mask(pattern, n - offset, n, q_offset=offset).numpy())
