"""The picture of a chosen schedule: who owns what, what travels between whom, and when."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from attncc.distributed.simulation import panels
from attncc.distributed.simulation.figures import exchange
from attncc.distributed.simulation.panels import Lines
from attncc.distributed.simulation.report import Report
from attncc.distributed.topology import Topology
from attncc.ir.tables import Array
from attncc.pictures import figure

#: Ranks up to which each has a line of its own; more are drawn by node.
MOST_LINES = 64
#: Bins of the sequence that the picture of owners shows at most.
BINS = 720
#: Points that the picture of an order shows at most.
POINTS = 4096
#: Characters of a line of the title.
TITLE = 120


def save(found: Report, path: Path) -> None:
    """Draw a report as PNG; raises ConfigError if `path` can't be written."""
    lines = lines_of(found.scene.topology)
    order = found.best.schedule.partition.cut.axis.positions
    made = figure.blank(13, 8.5 if order is None else 9.3)
    owners, places, traffic, timeline = _axes(made, reordered=order is not None)
    panels.ownership(owners, shares(found, lines), lines, found.scene.length, found.best.settings.partition)
    if order is not None:
        chosen = np.linspace(0, len(order) - 1, min(POINTS, len(order))).astype(np.int64)
        panels.order(places, chosen, order[chosen], len(order), found.scene.length)
    direction = found.scene.directions[0]
    panels.traffic(traffic, between(found, lines), lines, direction)
    panels.timeline(timeline, found.best.timelines, lines)
    made.suptitle(_title(found), x=0.01, ha="left", fontsize=12, parse_math=False)
    figure.write(made, path)


def lines_of(topology: Topology) -> Lines:
    """Return a line for each rank, or for each node where there are too many ranks, or for as many neighbours."""
    ranks = np.arange(topology.count)
    if topology.count <= MOST_LINES:
        return Lines("rank", ranks)
    nodes, line = np.unique(topology.node, return_inverse=True)
    return Lines("node", line) if len(nodes) > 1 else Lines("group of ranks", ranks * MOST_LINES // topology.count)


def shares(found: Report, lines: Lines) -> Array:
    """Return how much of each bin of the sequence, in the order of the cut, a line owns, float64 (lines, bins)."""
    cut, length = found.best.schedule.partition.cut, found.scene.length
    bins = min(BINS, length)
    bin_of = np.empty(length, np.int64)
    bin_of[cut.axis.places] = np.arange(length) * bins // length
    owned = np.zeros((lines.count, bins))
    for rank, positions in enumerate(_positions(found)):
        owned[lines.of_rank[rank]] += np.bincount(bin_of[positions], minlength=bins)
    share: Array = owned / owned.sum(axis=0)
    return share


def _positions(found: Report) -> Iterator[Array]:
    """Yield the positions of each rank's tokens: those that swap with neighbours have a slice of their part's each."""
    sharing, partition = found.best.sharing, found.best.schedule.partition
    of_part = [partition.tokens(part) for part in range(sharing.parts)]
    sizes = sharing.tokens(partition.counts)
    for rank, size in enumerate(sizes):
        part, share = divmod(rank % (sharing.parts * sharing.spread), sharing.spread)
        first = sizes[rank - share : rank].sum()
        yield of_part[part][first : first + size]


def between(found: Report, lines: Lines) -> Array:
    """Return the bytes from line to line in the first direction, float64 (lines, lines)."""
    sent = np.zeros((lines.count, lines.count))
    for step in found.ways[found.scene.directions[0]].steps:
        np.add.at(sent, (lines.of_rank[step.flow.source], lines.of_rank[step.flow.target]), step.flow.bytes)
    return sent


def _axes(made: Any, *, reordered: bool) -> tuple[Any, Any, Any, Any]:
    """Return the axes of owners, of the order (None where tokens are in theirs), of traffic, and of the timeline."""
    grid = made.add_gridspec(3, 2, width_ratios=(1.9, 1), height_ratios=(3, 1 if reordered else 0.01, 3.4))
    timeline, traffic = made.add_subplot(grid[2, :]), made.add_subplot(grid[:2, 1])
    if not reordered:
        return made.add_subplot(grid[:2, 0]), None, traffic, timeline
    owners = made.add_subplot(grid[0, 0])
    return owners, made.add_subplot(grid[1, 0], sharex=owners), traffic, timeline


def _title(found: Report) -> str:
    topology, partition = found.scene.topology, found.best.schedule.partition
    return (
        f"{figure.wrapped(repr(found.scene.pattern), TITLE, 2)}\n"
        f"{found.scene.length:,} tokens on {found.ranks:,} ranks of {topology.name}, simulated\n"
        f"{found.best.settings.partition} partition in units of {partition.cut.size:,}; {exchange(found.best)}"
    )
