"""Characters of terminal pictures: half blocks for cells, a colour for each subset, dim where partly connected."""

from __future__ import annotations

import numpy as np
from rich.text import Text

from attncc.planner.tiles import EMPTY, FULL, PARTIAL
from attncc.visualization.connectivity import Grid
from attncc.visualization.connectivity_text import COLOURS, SHARED, draw


def picture(*cells: list[list[int]]) -> Text:
    return draw(Grid(tuple(np.array(grid, np.int8) for grid in cells), side=1))


def styles(text: Text) -> list[str]:
    return [str(span.style) for span in text.spans]


def test_two_rows_share_a_line() -> None:
    assert picture([[FULL, FULL, EMPTY, EMPTY], [FULL, EMPTY, FULL, EMPTY]]).plain == "█▀▄ \n"


def test_odd_last_rows_are_drawn() -> None:
    assert picture([[FULL], [EMPTY], [FULL]]).plain == "▀\n▀\n"


def test_subsets_and_shared_cells_have_their_own_colours() -> None:
    drawn = picture([[FULL, EMPTY, FULL], [EMPTY] * 3], [[EMPTY, FULL, FULL], [EMPTY] * 3])
    assert styles(drawn) == [COLOURS[0], COLOURS[1], SHARED]


def test_partly_connected_cells_are_dim() -> None:
    assert styles(picture([[PARTIAL, FULL], [PARTIAL, PARTIAL]])) == [
        f"dim {COLOURS[0]}",
        f"{COLOURS[0]} on {COLOURS[0]}",
    ]
