"""Panels of the picture of a schedule: owners, order, traffic and timeline, in colours that everyone can tell apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from attncc.distributed.simulation.timeline import Timeline
from attncc.ir.tables import Array

#: Okabe and Ito's colours (2008), of which these are for ranks where they suffice.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C6D1F", "#555555")
COMPUTING, HIDDEN, EXPOSED = "#0072B2", "#F0C36D", "#D55E00"
#: Lines up to which each cell of the traffic matrix has its figure, and each line its label.
FIGURES, LABELS = 8, 16
_EMPTY = "#f3f3f3"


@dataclass(frozen=True, eq=False)
class RankGroups:
    """What the panels have a line for: a rank, or several. of_rank: the group of each rank, int64 (ranks,)."""

    name: str
    of_rank: Array

    @property
    def count(self) -> int:
        """Number of groups."""
        return int(self.of_rank.max()) + 1

    @property
    def single(self) -> bool:
        """Whether each group is one rank."""
        return self.count == len(self.of_rank)


def ownership(axes: Any, shares: Array, groups: RankGroups, length: int, partition: str) -> None:
    """Draw which line owns which part of the sequence; paler where it owns some of the tokens only."""
    from matplotlib.colors import to_rgb

    image = np.empty((*shares.shape, 4))
    image[..., :3] = np.array([to_rgb(colour) for colour in _colours(groups.count)])[:, None]
    image[..., 3] = np.where(shares > 0, 0.35 + 0.65 * shares, 0.0)
    extent = (0, length, groups.count - 0.5, -0.5)
    axes.imshow(image, aspect="auto", interpolation="nearest", extent=extent)
    _finish(axes, f"Who owns what: {partition}", "position in the sequence (tokens)", groups.name)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.yaxis.set_ticks(_labelled(groups.count))


def order(axes: Any, places: Array, positions: Array, count: int, length: int) -> None:
    """Draw where in a sequence of `length` the `count` tokens are, whose places the panel above shows."""
    axes.plot(places, positions, ".", markersize=1.5, color="#555555", rasterized=True)
    axes.set(xlim=(0, count), ylim=(0, length))
    above = axes.get_shared_x_axes().get_siblings(axes)
    for other in above:
        if other is not axes:
            other.set_xlabel("")
            other.tick_params(labelbottom=False)
    _finish(axes, "", "place in the order that the partition cuts (tokens)", "position")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.yaxis.set_major_formatter("{x:,.0f}")


def traffic(axes: Any, sent: Array, groups: RankGroups, direction: str) -> None:
    """Draw the bytes from each line (down) to each other (across)."""
    from matplotlib.colors import LogNorm

    axes.set_facecolor(_EMPTY)
    _finish(axes, f"Traffic, {direction}: {_bytes(sent.sum())} in all", f"to {groups.name}", f"from {groups.name}")
    moved = sent[sent > 0]
    most, least = (moved.max(), moved.min()) if len(moved) else (1.0, 1.0)
    norm = LogNorm(least, most) if least < most else LogNorm(least / 10, most * 10)
    image = axes.imshow(np.ma.masked_equal(sent, 0), cmap="YlGnBu", norm=norm, interpolation="nearest")
    axes.xaxis.set_ticks(_labelled(groups.count))
    axes.yaxis.set_ticks(_labelled(groups.count))
    if not len(moved):
        axes.text(0.5, 0.5, "nothing travels", ha="center", va="center", transform=axes.transAxes)
        return
    _scale(axes, image, np.geomspace(least, most, 4 if least < most else 1))
    if groups.count <= FIGURES:
        for row, column in np.argwhere(sent > 0):
            colour = "white" if norm(sent[row, column]) > 0.55 else "black"
            size = {"ha": "center", "va": "center", "fontsize": 7, "color": colour}
            axes.text(column, row, _bytes(sent[row, column]).replace(" ", "\n"), **size)


def timeline(axes: Any, timelines: Mapping[str, Timeline], groups: RankGroups) -> None:
    """Draw when each line computes, and below that when its messages are on their way; of several ranks, the last."""
    total = sum(each.seconds for each in timelines.values())
    unit, size = next(((name, size) for name, size in (("s", 1.0), ("ms", 1e-3)) if total >= size), ("µs", 1e-6))
    top = -0.5 - max(0.7, groups.count / 10)
    begin = 0.0
    for direction, each in timelines.items():
        _spans(axes, each, last_ranks(each, groups), begin, size)
        name = f"{direction}: {each.seconds / size:.3g} {unit}; the last rank waits {each.exposed / size:.3g} {unit}"
        axes.annotate(name, (begin / size, -0.5), (4, 3), textcoords="offset points", fontsize=8)
        axes.axvline(begin / size, color="black", linewidth=1.2)
        begin += each.seconds
    axes.set(xlim=(0, max(total / size, 1e-9)), ylim=(groups.count - 0.5, top))
    title = "Timeline" if groups.single else f"Timeline, of each {groups.name} the rank that ends last"
    _finish(axes, title, f"time ({unit})", groups.name)
    axes.set_yticks(_labelled(groups.count))
    place = {"loc": "lower right", "bbox_to_anchor": (1.0, 1.0), "borderaxespad": 0.3}
    axes.legend(handles=_legend(), fontsize=7, ncols=3, frameon=False, **place)


def last_ranks(each: Timeline, groups: RankGroups) -> Array:
    """Return the rank of each line that ends last, int64 (lines,)."""
    ends = each.ends[-1] if len(each.ends) else np.zeros(len(groups.of_rank))
    order = np.lexsort((-ends, groups.of_rank))
    first: Array = order[np.searchsorted(groups.of_rank[order], np.arange(groups.count))]
    return first


def _spans(axes: Any, each: Timeline, ranks: Array, begin: float, size: float) -> None:
    """Draw the steps of these ranks, one a line, from `begin` (seconds) on; a unit of the axis is `size` seconds."""
    begins, starts, computed, landed = (
        (begin + times[:, ranks]) / size for times in (each.begins, each.starts, each.computed, each.landed)
    )
    _bars(axes, starts, computed, COMPUTING, -0.42, 0.5)
    _bars(axes, starts, np.minimum(computed, landed), HIDDEN, 0.12, 0.3)
    _bars(axes, begins, np.minimum(starts, landed), EXPOSED, 0.12, 0.3)
    _bars(axes, computed, landed, EXPOSED, 0.12, 0.3)


def _bars(axes: Any, left: Array, right: Array, colour: str, above: float, height: float) -> None:
    """Draw bars from `left` to `right`, float64 (steps, lines), where these aren't empty, `above` their line."""
    from matplotlib.collections import PolyCollection

    step, line = np.nonzero((right > left) & ~np.isclose(right, left))  # not rounding either
    x, y = np.stack([left[step, line], right[step, line]]), line + above
    corners = [(x[0], y), (x[1], y), (x[1], y + height), (x[0], y + height)]
    boxes = np.stack([np.stack(each, axis=-1) for each in corners], axis=1)
    edge = "white" if colour == COMPUTING else colour  # tells tasks apart, and would hide what travels for a moment
    made = PolyCollection(list(boxes), facecolors=colour, edgecolors=edge, linewidths=0.3)
    axes.add_collection(made, autolim=False)


def _legend() -> list[Any]:
    from matplotlib.patches import Patch

    return [
        Patch(color=COMPUTING, label="computing"),
        Patch(color=HIDDEN, label="exchange behind computing"),
        Patch(color=EXPOSED, label="waiting for the exchange"),
    ]


def _colours(count: int) -> list[Any]:
    from matplotlib import colormaps

    if count <= len(COLOURS):
        return list(COLOURS[:count])
    return [colormaps["viridis"](0.92 * line / (count - 1))[:3] for line in range(count)]


def _scale(axes: Any, image: Any, ticks: Array) -> None:
    bar = axes.figure.colorbar(image, ax=axes, shrink=0.8)
    bar.minorticks_off()
    bar.ax.set_yticks(ticks, [_bytes(tick) for tick in ticks])
    bar.ax.tick_params(labelsize=7)


def _labelled(count: int) -> list[int]:
    """Return the lines that have a label: all, or those a power of two apart."""
    apart = 1
    while count > LABELS * apart:
        apart *= 2
    return list(range(0, count, apart))


def _finish(axes: Any, title: str, across: str, down: str) -> None:
    axes.set_title(title, fontsize=10, loc="left", fontweight="bold", parse_math=False)
    axes.set_xlabel(across, fontsize=8)
    axes.set_ylabel(down, fontsize=8)
    axes.tick_params(labelsize=7)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _bytes(value: float) -> str:
    """Return a size with three digits."""
    for prefix, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g} {prefix}B"
    return f"{value:.3g} B"
