"""The picture of a chosen schedule: who owns what, what travels between whom, and when."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from attncc.distributed.topology import Topology
from attncc.ir.tables import Array
from attncc.visualization import figure
from attncc.visualization import schedule_panels as panels
from attncc.visualization.schedule_panels import RankGroups
from attncc.visualization.schedule_report import Report, exchange

#: Ranks up to which each has a line of its own; more are drawn by node.
MOST_LINES = 64
#: Bins of the sequence that the picture of owners shows at most.
BINS = 720
#: Points that the picture of an order shows at most.
POINTS = 4096
#: Characters of a line of the title, and lines of its pattern.
TITLE = 120, 3


def save(report: Report, path: Path) -> None:
    """Draw a report as PNG; raises ConfigError if `path` can't be written."""
    groups = rank_groups(report.scenario.topology)
    order = report.best.schedule.partition.chunking.axis.positions
    made = figure.blank(13, 8.5 if order is None else 9.3)
    owners, places, traffic, timeline = _axes(made, reordered=order is not None)
    panels.ownership(owners, shares(report, groups), groups, report.scenario.length, report.best.settings.partition)
    if order is not None:
        chosen = np.linspace(0, len(order) - 1, min(POINTS, len(order))).astype(np.int64)
        panels.order(places, chosen, order[chosen], len(order), report.scenario.length)
    direction = report.scenario.directions[0]
    panels.traffic(traffic, between(report, groups), groups, direction)
    panels.timeline(timeline, report.best.timelines, groups)
    made.suptitle(_title(report), x=0.01, ha="left", fontsize=12, parse_math=False)
    figure.write(made, path)


def rank_groups(topology: Topology) -> RankGroups:
    """Return a line for each rank, or for each node where there are too many ranks, or for as many neighbours."""
    ranks = np.arange(topology.count)
    if topology.count <= MOST_LINES:
        return RankGroups("rank", ranks)
    nodes, line = np.unique(topology.node, return_inverse=True)
    neighbours = RankGroups("group of ranks", ranks * MOST_LINES // topology.count)
    return RankGroups("node", line) if len(nodes) > 1 else neighbours


def shares(report: Report, groups: RankGroups) -> Array:
    """Return how much of each bin of the sequence, in the order of the chunking, a line owns, float64 (lines, bins)."""
    chunking, length = report.best.schedule.partition.chunking, report.scenario.length
    bins = min(BINS, length)
    bin_of = np.empty(length, np.int64)
    bin_of[chunking.axis.places] = np.arange(length) * bins // length
    owned = np.zeros((groups.count, bins))
    for rank in range(report.ranks):
        positions = report.best.sharing.positions(report.best.schedule.partition, rank)
        owned[groups.of_rank[rank]] += np.bincount(bin_of[positions], minlength=bins)
    share: Array = owned / owned.sum(axis=0)
    return share


def between(report: Report, groups: RankGroups) -> Array:
    """Return the bytes from line to line in the first direction, float64 (lines, lines)."""
    sent = np.zeros((groups.count, groups.count))
    for step in report.traffic[report.scenario.directions[0]].steps:
        np.add.at(sent, (groups.of_rank[step.flow.source], groups.of_rank[step.flow.target]), step.flow.bytes)
    return sent


def _axes(made: Any, *, reordered: bool) -> tuple[Any, Any, Any, Any]:
    """Return the axes of owners, of the order (None where tokens are in theirs), of traffic, and of the timeline."""
    grid = made.add_gridspec(3, 2, width_ratios=(1.9, 1), height_ratios=(3, 1 if reordered else 0.01, 3.4))
    timeline, traffic = made.add_subplot(grid[2, :]), made.add_subplot(grid[:2, 1])
    if not reordered:
        return made.add_subplot(grid[:2, 0]), None, traffic, timeline
    owners = made.add_subplot(grid[0, 0])
    return owners, made.add_subplot(grid[1, 0], sharex=owners), traffic, timeline


def _title(report: Report) -> str:
    topology, partition = report.scenario.topology, report.best.schedule.partition
    return (
        f"{figure.wrapped(repr(report.scenario.pattern), *TITLE)}\n"
        f"{report.scenario.length:,} tokens on {report.ranks:,} ranks of {topology.name}, simulated\n"
        f"{report.best.settings.partition} partition in units of {partition.chunking.size:,}; {exchange(report.best)}"
    )
