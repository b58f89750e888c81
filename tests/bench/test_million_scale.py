"""The million-scale study: every family has a pattern, cells have all strategies, and finished cells are kept."""

from __future__ import annotations

from pathlib import Path

import catalogue
import dense
import million_page
import million_scale
import numpy as np
import pytest
from million_scale import Cell

import attncc
from attncc.distributed.simulation.baselines import contiguous_blocks, cyclic_blocks
from attncc.frontend import catalog

CELL = Cell("strided", 1024, "gloo")


@pytest.fixture(scope="module")
def row() -> dict[str, object]:
    return million_scale.row(CELL)


def test_every_family_has_a_pattern() -> None:
    assert {each.family for each in catalogue.entries()} == {plugin for plugin, _ in catalog.factories()}


@pytest.mark.parametrize("entry", list(catalogue.entries()), ids=lambda each: each.name)
def test_patterns_connect_something_at_short_lengths(entry: catalogue.Entry) -> None:
    assert 0 < attncc.plan(entry.make(512), 512).nnz < 512**2


def test_a_cell_has_every_strategy_in_both_directions(row) -> None:
    assert list(row["strategies"]) == ["attncc", *million_page.OTHERS]
    for each in row["strategies"].values():
        assert each["backward"] > each["forward"] > 0
        assert each["busiest"]["forward"] > 0
    assert row["edges"] == attncc.plan(attncc.load("strided", l=32).union(), 1024).nnz


def test_vanilla_takes_longer_than_flash(row) -> None:
    vanilla, flash = (row["strategies"][name] for name in ("vanilla", "flash"))
    assert vanilla["forward"] > flash["forward"]
    assert vanilla["busiest"] == flash["busiest"] == row["strategies"]["all-gather"]["busiest"]


@pytest.mark.parametrize("length", [37, 64])
@pytest.mark.parametrize(("order", "blocks"), [("contiguous", contiguous_blocks), ("cyclic", cyclic_blocks)])
def test_causal_pairs_of_blocks_are_counted(length: int, order: str, blocks) -> None:
    member = np.eye(5)[blocks(length, 5)]
    wanted = member.T @ np.tril(np.ones((length, length))) @ member
    assert np.array_equal(dense._pairs(member.sum(0), order, causal=True), wanted)


def test_finished_cells_are_not_done_again(row, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    results = tmp_path / "rows.json"
    million_scale.keep(results, {CELL.key: row}, [CELL])
    assert million_scale.kept(results) == {CELL.key: row}
    monkeypatch.setattr(million_scale, "study", lambda todo, workers: [(cell, row) for cell in todo])
    options = ["--patterns", "strided", "--lengths", "1024", "--topologies", "gloo"]
    options += ["--results", str(results), "--docs", str(tmp_path)]
    million_scale.main(options)
    monkeypatch.setattr(million_page, "draw", lambda rows, path: None)
    million_scale.main([*options, "--fresh"])
    assert capsys.readouterr().out.splitlines()[:2] == [
        "1 of 1 cells are done",
        "0 of 1 cells are done",
    ]
    assert "| `strided`, l = √N, union |" in (tmp_path / "million_scale.md").read_text("utf-8")
    assert (tmp_path / "million_scale.png").stat().st_size > 10_000
