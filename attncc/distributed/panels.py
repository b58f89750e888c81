"""Panels of the picture of a schedule: owners, order, traffic and timeline, in colours that everyone can tell apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from attncc.distributed.simulate import Timeline
from attncc.ir.tables import Array

#: Okabe and Ito's colours (2008), of which these are for ranks where they suffice.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C6D1F", "#555555")
COMPUTING, HIDDEN, EXPOSED = "#0072B2", "#F0C36D", "#D55E00"
#: Lines up to which each cell of the traffic matrix has its figure, and each line its label.
FIGURES, LABELS = 8, 16
_EMPTY, _RULE = "#f3f3f3", "#999999"


@dataclass(frozen=True, eq=False)
class Lines:
    """What the panels have a line for: a rank, or several; of_rank: the line of each rank, int64 (ranks,)."""

    name: str
    of_rank: Array

    @property
    def count(self) -> int:
        """Number of lines."""
        return int(self.of_rank.max()) + 1

    @property
    def single(self) -> bool:
        """Whether each line is one rank."""
        return self.count == len(self.of_rank)


def ownership(axes: Any, shares: Array, lines: Lines, length: int, title: str) -> None:
    """Draw which line owns which part of the sequence; paler where it owns some of the tokens only."""
    from matplotlib.colors import to_rgb

    image = np.empty((*shares.shape, 4))
    image[..., :3] = np.array([to_rgb(colour) for colour in _colours(lines.count)])[:, None]
    image[..., 3] = np.where(shares > 0, 0.1 + 0.9 * shares, 0.0)
    extent = (0, length, lines.count - 0.5, -0.5)
    axes.imshow(image, aspect="auto", interpolation="nearest", extent=extent)
    _finish(axes, title, "position in the sequence (tokens)", lines.name)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    _label_lines(axes.yaxis, lines.count)


def order(axes: Any, places: Array, positions: Array) -> None:
    """Draw where in the sequence the tokens are, whose places the panel above shows."""
    axes.plot(places, positions, ".", markersize=1.5, color="#555555", rasterized=True)
    above = axes.get_shared_x_axes().get_siblings(axes)
    for each in above:
        if each is not axes:
            each.set_xlabel("")
            each.tick_params(labelbottom=False)
    _finish(axes, "", "place in the order that the partition cuts (tokens)", "position")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.yaxis.set_major_formatter("{x:,.0f}")


def traffic(axes: Any, sent: Array, lines: Lines, direction: str) -> None:
    """Draw the bytes from each line (down) to each other (across)."""
    from matplotlib.colors import LogNorm

    axes.set_facecolor(_EMPTY)
    _finish(axes, f"Traffic, {direction}: {_bytes(sent.sum())} in all", f"to {lines.name}", f"from {lines.name}")
    moved = sent[sent > 0]
    most, least = (moved.max(), moved.min()) if len(moved) else (1.0, 1.0)
    norm = LogNorm(least if least < most else most / 10, most)
    image = axes.imshow(np.ma.masked_equal(sent, 0), cmap="YlGnBu", norm=norm, interpolation="nearest")
    _label_lines(axes.xaxis, lines.count)
    _label_lines(axes.yaxis, lines.count)
    if not len(moved):
        axes.text(0.5, 0.5, "nothing travels", ha="center", va="center", transform=axes.transAxes)
        return
    _scale(axes, image, norm)
    if lines.count <= FIGURES:
        for row, column in np.argwhere(sent > 0):
            colour = "white" if norm(sent[row, column]) > 0.55 else "black"
            size = {"ha": "center", "va": "center", "fontsize": 7, "color": colour}
            axes.text(column, row, _bytes(sent[row, column]).replace(" ", "\n"), **size)


def timeline(axes: Any, timelines: Mapping[str, Timeline], lines: Lines) -> None:
    """Draw when each line computes, over what the network does meanwhile; of several ranks, the slowest."""
    from matplotlib.ticker import NullLocator

    total = sum(each.seconds for each in timelines.values())
    unit, size = next(((name, size) for name, size in (("s", 1.0), ("ms", 1e-3)) if total >= size), ("µs", 1e-6))
    height = max(1.0, lines.count / 10)
    begin = 0.0
    for direction, each in timelines.items():
        _steps(axes, each, lines, begin / size, size, height, total / size)
        name = f" {direction}: {each.seconds / size:.3g} {unit}, {each.exposed / size:.2g} exposed"
        axes.text(begin / size, -0.6 - height, name, va="bottom", fontsize=8)
        axes.axvline(begin / size, color="black", linewidth=1.2)
        begin += each.seconds
    axes.set(xlim=(0, max(total / size, 1e-9)), ylim=(lines.count - 0.5, -0.6 - 1.9 * height))
    slowest = "" if lines.single else f", the slowest rank of each {lines.name}"
    _finish(axes, f"Timeline{slowest}", f"time ({unit})", lines.name)
    _label_lines(axes.yaxis, lines.count)
    axes.yaxis.set_minor_locator(NullLocator())
    axes.legend(handles=_legend(), loc="upper right", fontsize=7, ncols=4, framealpha=1.0, borderaxespad=0.2)


def _steps(axes: Any, each: Timeline, lines: Lines, begin: float, size: float, height: float, total: float) -> None:
    """Draw the steps of a direction from `begin` on; times in units of `size` seconds, `total` of them in all."""
    busy = np.zeros((lines.count, len(each.computing)))
    np.maximum.at(busy, lines.of_rank, each.busy.T)
    starts = begin + each.starts / size
    hidden = np.minimum(each.computing, each.communicating) / size
    exposed = np.maximum(each.communicating - each.computing, 0.0) / size
    band = {"y": -0.6 - height / 2, "height": 0.8 * height, "edgecolor": "white", "linewidth": 0.5}
    axes.barh(width=hidden, left=starts, color=HIDDEN, **band)
    axes.barh(width=exposed, left=starts + hidden, color=EXPOSED, **band)
    for step, start in enumerate(starts):
        axes.barh(np.arange(lines.count), busy[:, step] / size, 0.82, start, color=COMPUTING)
        if exposed[step] > 0:
            waiting = (start + hidden[step], start + hidden[step] + exposed[step])
            axes.axvspan(*waiting, color=EXPOSED, alpha=0.10, linewidth=0)
        axes.axvline(start, color=_RULE, linewidth=0.4)


def _legend() -> list[Any]:
    from matplotlib.patches import Patch

    return [
        Patch(color=COMPUTING, label="computing"),
        Patch(color=HIDDEN, label="exchange behind computing"),
        Patch(color=EXPOSED, label="exposed exchange"),
        Patch(color=EXPOSED, alpha=0.10, label="waiting"),
    ]


def _colours(count: int) -> list[Any]:
    from matplotlib import colormaps

    if count <= len(COLOURS):
        return list(COLOURS[:count])
    return [colormaps["viridis"](0.92 * line / (count - 1))[:3] for line in range(count)]


def _scale(axes: Any, image: Any, norm: Any) -> None:
    ticks = np.geomspace(norm.vmin, norm.vmax, 4)
    bar = axes.figure.colorbar(image, ax=axes, ticks=ticks, shrink=0.8)
    bar.minorticks_off()
    bar.ax.set_yticks(ticks, [_bytes(tick) for tick in ticks])
    bar.ax.tick_params(labelsize=7)


def _label_lines(axis: Any, count: int) -> None:
    from matplotlib.ticker import FixedLocator, MaxNLocator

    axis.set_major_locator(FixedLocator(range(count)) if count <= LABELS else MaxNLocator(8, integer=True))


def _finish(axes: Any, title: str, across: str, down: str) -> None:
    axes.set_title(title, fontsize=10, loc="left", fontweight="bold", parse_math=False)
    axes.set_xlabel(across, fontsize=8)
    axes.set_ylabel(down, fontsize=8)
    axes.tick_params(labelsize=7)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _bytes(value: float) -> str:
    from matplotlib.ticker import EngFormatter

    return str(EngFormatter("B", places=1)(value))
