"""What the page of a pattern is made of, as plain data: connectivity, the tiles of each layout, costs, and owners."""

from __future__ import annotations

from typing import Any

import numpy as np

from attncc import targets
from attncc.backends.inputs import Inputs
from attncc.distributed.simulation.scenario import Scenario
from attncc.distributed.topology import Topology
from attncc.errors import AttnccError, ShapeError
from attncc.ir.notation import condition, connectivity
from attncc.ir.symbols import H
from attncc.ir.tables import Array
from attncc.planner.directions import ways
from attncc.planner.passes import Alternative, Pass
from attncc.planner.plan import Plan
from attncc.planner.tiles import Tiles
from attncc.visualization.coarse import CoarseTiles, natural_tiles
from attncc.visualization.levels import Level, levels
from attncc.visualization.schedule_png import rank_groups, shares
from attncc.visualization.schedule_report import exchange, report

#: Letters of EMPTY, PARTIAL and FULL.
LETTERS = "epf"
#: Cells of a picture of tiles, and characters of a clause.
TILES, WIDEST = 128, 600
#: What devices share: the sizes that `attncc partition` has by default.
INPUTS = Inputs(1, 8, 8, 64, 64, "bf16")


def described(plan: Plan, topology: str | None) -> dict[str, Any]:
    """Return all that the page shows of a plan, and of how the devices of a topology share it if one is named.

    Raises ShapeError for a plan without queries or without keys.
    """
    pattern, shape = plan.pattern, plan.shape
    if not shape.q_len or not shape.kv_len:
        raise ShapeError(
            f"{shape.q_len:,} queries and {shape.kv_len:,} keys.",
            rule="A page shows at least one pair.",
            fix="Plan the pattern for more.",
        )
    return {
        "title": repr(pattern),
        "sets": [connectivity(subset, m)[:WIDEST] for m, subset in enumerate(pattern.subsets, start=1)],
        "lengths": [shape.q_len, shape.kv_len],
        "offset": shape.q_offset,
        "edges": plan.nnz,
        "density": plan.density,
        "tile": list(plan.tile),
        "target": targets.target(plan.target).title,
        "head": 0 if H in pattern.free else None,
        "notes": list(plan.notes),
        "levels": [_level(each) for each in levels(pattern, shape)],
        "before": _tiles(natural_tiles(plan)),
        "alternatives": [_alternative(way) for way in plan.groups[0].alternatives],
        "dense": {**plan.dense.describe(), "name": "dense attention without the pattern"},
        "owners": None if topology is None else _owners(plan, topology),
    }


def encoded(cells: Array) -> str:
    """Return cells row by row as letters, each after how often it is repeated if that isn't once: 12e3pf."""
    flat = cells.ravel()
    starts = np.flatnonzero(np.diff(flat, prepend=-1))
    lengths = np.diff(np.append(starts, flat.size))
    pairs = zip(lengths.tolist(), flat[starts].tolist(), strict=True)
    return "".join(f"{'' if length == 1 else length}{LETTERS[kind]}" for length, kind in pairs)


def _level(level: Level) -> dict[str, Any]:
    rows, columns = level.grid.cells[0].shape
    return {
        "first": list(level.first),
        "side": level.grid.side,
        "rows": rows,
        "columns": columns,
        "sets": [encoded(cells) for cells in level.grid.cells],
    }


def _tiles(tiles: Tiles) -> dict[str, Any]:
    coarse = CoarseTiles.of(tiles, TILES)
    total = tiles.num_query_tiles * tiles.num_key_tiles
    rows, columns = coarse.cells.shape
    return {
        "full": tiles.num_full,
        "partial": tiles.num_partial,
        "empty": total - tiles.num_tiles,
        "block": [tiles.block_m, tiles.block_n],
        "side": coarse.side,
        "rows": rows,
        "columns": columns,
        "cells": encoded(coarse.cells),
    }


def _alternative(way: Alternative) -> dict[str, Any]:
    return {"name": way.name, "ms": way.seconds * 1e3, "note": way.note, "passes": [_pass(work) for work in way.passes]}


def _pass(work: Pass) -> dict[str, Any]:
    sizes = {"queries": work.rows.size, "keys": work.cols.size}
    return {"clause": condition(work.predicate)[:WIDEST], "layout": work.layout.kind, **sizes, **_tiles(work.tiles)}


def _owners(plan: Plan, name: str) -> dict[str, Any]:
    """Return who owns what in the schedule that is chosen for a topology, or the reason why there is none."""
    topology = Topology.load(name)
    try:
        if plan.shape.kv_len != plan.shape.q_len:
            raise ShapeError(
                "Keys aren't the positions of queries.",
                rule="Devices share positions of both.",
                fix="Show owners of a pattern with as many keys as queries.",
            )
        scenario = Scenario(plan.pattern, plan.shape.q_len, INPUTS, topology, ways("forward"))
        chosen = report(scenario)
    except AttnccError as error:
        return {"topology": topology.title, "reason": str(error)}
    groups = rank_groups(topology)
    return {
        "topology": topology.title,
        "partition": chosen.best.settings.partition,
        "unit": chosen.best.schedule.partition.chunking.size,
        "exchange": exchange(chosen.best),
        "makespan_ms": chosen.best.seconds * 1e3,
        "imbalance": chosen.imbalance,
        "line": groups.name,
        "tokens": np.bincount(groups.of_rank, chosen.tokens).astype(int).tolist(),
        "ordered": chosen.best.schedule.partition.chunking.axis.order is None,
        "shares": [_runs(line) for line in np.round(100 * shares(chosen, groups)).astype(int)],
    }


def _runs(line: Array) -> list[list[int]]:
    """Return [first bin, bins, percent] of the parts of a line that aren't 0."""
    starts = np.flatnonzero(np.diff(line, prepend=-1))
    lengths = np.diff(np.append(starts, len(line)))
    parts = np.column_stack([starts, lengths, line[starts]])
    found: list[list[int]] = parts[parts[:, 2] > 0].tolist()
    return found
