"""The page and the chart of attncc beside its peers, from their cells: docs/peers.md and docs/peers.png."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from attncc.visualization import figure

from .contestants import CONTESTANTS, HEAD_DIM, HEADS, TASKS, Contestant

Cell = Mapping[str, Any]
Cells = Mapping[str, Cell]

FIGURES = {
    "forward_s": "forward, s",
    "forward_backward_s": "forward and backward, s",
    "peak_bytes": "memory above inputs, bytes",
    "prepare_s": "preparing, s",
}


def read(path: Path) -> dict[str, Any]:
    """Return the cells of a file by their keys."""
    cells: dict[str, Any] = json.loads(path.read_text("utf-8"))["cells"]
    return cells


def write(cells: Cells, here: Mapping[str, Any], docs: Path) -> None:
    """Write the page and its chart to a folder."""
    (docs / "peers.md").write_text("\n".join(_page(cells, here)), encoding="utf-8")
    draw(cells, docs / "peers.png")


def said(cell: Cell) -> str:
    """Return a cell in a line."""
    return cell.get("skipped") or ", ".join(_value(name, cell[name]) for name in FIGURES if name in cell)


def _page(cells: Cells, here: Mapping[str, Any]) -> Iterator[str]:
    installed = ", ".join(f"{name} {version}" for name, version in here["versions"].items())
    yield "<!-- Written by python -m bench.peers -->"
    yield "# Beside other libraries\n"
    yield f"Attention of other libraries beside attncc's on a CPU: one sequence, {HEADS} heads of {HEAD_DIM}, fp32. A"
    yield "cell is measured in a process of its own: the median of up to five calls, and the most memory that a forward"
    yield "and backward hold above their inputs. `python -m bench.peers` measures all and writes this page;"
    yield "`bench/sweeps/peers.json` has the figures.\n"
    yield f"{here['processor']}, {here['cores']} cores, threads: {here['threads']}, {here['system']},"
    yield f"Python {here['python']}; {installed}.\n"
    yield "![Time and memory against length](peers.png)\n"
    yield "*Preparing* is what comes before the first call: building a mask, or planning. Contestants of a task compute"
    yield "the same attention, but for what the table says. Below 1 x attncc is slower.\n"
    for task, what in TASKS.items():
        yield f"## {task}: {what}\n"
        heads = " | ".join(label.rpartition(",")[0] for label in FIGURES.values())  # cells have their units
        yield f"| contestant | N | {heads} | speed-up of attncc, forward | forward and backward |"
        yield "| --- " * (4 + len(FIGURES)) + "|"
        yield from _rows(task, cells)
        yield ""


def _rows(task: str, cells: Cells) -> Iterator[str]:
    own = _of(task)[0]
    for each in _of(task):
        for length in _lengths(cells):
            cell, mine = (cells.get(f"{task}/{one.name}/{length}", {}) for one in (each, own))
            if not cell:
                continue
            name = each.name + (f" ({each.says})" if each.says else "")
            if "skipped" in cell:
                yield f"| {name} | {length:,} | {cell['skipped']} {'| ' * 6}|"
                continue
            columns = [_value(key, cell[key]) if key in cell else "" for key in FIGURES]
            both = each is not own and "skipped" not in mine
            columns += [f"{cell[k] / mine[k]:.3g} x" if both and k in cell else "" for k in list(FIGURES)[:2]]
            yield f"| {name} | {length:,} | {' | '.join(columns)} |"


def draw(cells: Cells, path: Path) -> None:
    """Draw each figure against the length, a column for each task."""
    made = figure.blank(2.6 * len(TASKS), 2.0 * len(FIGURES) + 0.4)
    panels = made.subplots(len(FIGURES), len(TASKS), sharex=True, sharey="row", squeeze=False)
    for column, task in enumerate(TASKS):
        for row, (name, label) in enumerate(FIGURES.items()):
            axes = panels[row, column]
            for number, each in enumerate(_of(task)):  # the first is attncc
                found = {n: cells.get(f"{task}/{each.name}/{n}", {}).get(name) for n in _lengths(cells)}
                points = [(n, value) for n, value in found.items() if value is not None]
                values = [value for _, value in points]
                axes.plot([n for n, _ in points], values, label=each.name, **figure.style(number))
            axes.set_xscale("log", base=2)
            axes.set_yscale("log")
            axes.tick_params(labelsize=7)
            figure.unclutter(axes)
            if row == 0:
                above = {"loc": "lower left", "bbox_to_anchor": (-0.02, 1.0), "alignment": "left"}
                bold = {"weight": "bold", "size": 9}
                axes.legend(title=task, title_fontproperties=bold, fontsize=7, frameon=False, **above)
            if column == 0:
                axes.set_ylabel(label, fontsize=8)
    made.supxlabel("tokens", fontsize=8)
    figure.write(made, path)


def _of(task: str) -> list[Contestant]:
    return [each for each in CONTESTANTS if each.task == task]


def _lengths(cells: Cells) -> list[int]:
    return sorted({int(name.rpartition("/")[2]) for name in cells})


def _value(name: str, value: float) -> str:
    if name == "peak_bytes":
        return f"{value / 1e6:,.0f} MB"
    return f"{value:.3g} s" if value >= 1 else f"{1e3 * value:.3g} ms"
