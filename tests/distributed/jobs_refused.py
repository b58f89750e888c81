"""Jobs that ranks refuse before any message."""

from __future__ import annotations

from dataclasses import replace
from unittest import mock

import by_hand
import numpy as np
import torch
import torch.distributed as dist
from cases import N, biased, compiled, patterns
from comparison import refused
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

import attncc
from attncc.distributed.execution import tables
from attncc.distributed.execution.rows import Gather
from attncc.distributed.schedules.schedule import Moves, Schedule


def a_mesh_of_another_size() -> None:
    mesh = DeviceMesh("cpu", [0, 1], mesh_dim_names=("sequence",))
    refused(lambda: compiled(mesh=mesh), "The mesh has 2 ranks, the world 4")


def a_mesh_of_other_names() -> None:
    refused(lambda: compiled(mesh=DeviceMesh("cpu", [0, 1, 2, 3], mesh_dim_names=("tokens",))), "tokens")
    refused(lambda: compiled(mesh=DeviceMesh("cpu", [0, 1, 2, 3])), "Name them")


def shards_of_another_size() -> None:
    op = compiled()
    owned = len(op.positions())
    wrong = torch.zeros(1, 1, owned + 1, 8)
    refused(lambda: op(wrong, wrong, wrong), f"owns {owned} of {N} tokens", error=attncc.ShapeError)
    mix = compiled(patterns()["mix"], heads=4, kv_heads=4)
    fewer = torch.zeros(1, 2, len(mix.positions()), 8)
    refused(lambda: mix(fewer, fewer, fewer), "(1, 4, ", error=attncc.ShapeError)
    whole = torch.zeros(1, 1, N - 1, 8)
    refused(lambda: op.shard(whole), str(N), error=attncc.ShapeError)


def schedules_that_differ() -> None:
    unit = 8 if dist.get_rank() == 2 else 4
    settings = attncc.distributed.Settings(unit=unit)
    refused(lambda: compiled(settings=settings), "rank 2 has")


def tables_that_differ() -> None:
    ids = np.zeros(N, int)
    ids[-1] = dist.get_rank() == 1
    refused(lambda: compiled(attncc.load("document", ids=ids)), "rank 1 has", "broadcast")


def a_schedule_that_sends_missing_units() -> None:
    parts = by_hand.partition("contiguous", N, 8, 4)
    good = by_hand.schedule(attncc.load("causal"), parts)
    compiled(schedule=good)
    moves = good.head_classes[0].keys
    elsewhere = (parts.owner[moves.unit] + 1) % 4
    source = np.where(elsewhere == moves.target, (elsewhere + 1) % 4, elsewhere)
    wrong = replace(good.head_classes[0], keys=Moves.of(moves.round, source, moves.target, moves.unit))
    refused(lambda: compiled(schedule=replace(good, head_classes=(wrong,))), "which it hasn't got by round 0")
    fewer = replace(good.head_classes[0], keys=moves.select(np.arange(len(moves)) > 0))
    refused(lambda: compiled(schedule=replace(good, head_classes=(fewer,))), "computes with unit")
    refused(lambda: compiled(schedule=by_hand.schedule(attncc.load("causal"), by_hand.partition("striped", N, 8, 3))))


def spreads_that_do_not_divide() -> None:
    two, three = (attncc.distributed.Settings(spread=spread) for spread in (2, 3))
    config = attncc.ConfigError
    refused(lambda: compiled(settings=two), "1 key heads on 2 ranks", error=config)
    refused(lambda: compiled(settings=three, heads=3), "spread=3 on 4 ranks", error=config)
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("heads", "sequence"))
    refused(lambda: compiled(settings=two, heads=4, kv_heads=2, mesh=mesh), "2 key heads on 4 ranks", error=config)
    op = compiled(settings=two, heads=4)
    assert compiled(settings=two, heads=4).communicators.within.group is op.communicators.within.group
    three_heads = torch.zeros(1, 3, len(op.positions()), 8)
    refused(lambda: op(three_heads, three_heads, three_heads), "3 key heads", error=attncc.ShapeError)
    halves = [dist.new_group(ranks) for ranks in ([0, 1], [2, 3])]
    half = halves[dist.get_rank() // 2]
    refused(lambda: compiled(settings=two, heads=4, group=half), "group of 2 ranks in a world of 4")
    other = attncc.distributed.Settings(spread=1 + dist.get_rank() // 3)
    refused(lambda: compiled(settings=other, heads=2), "rank 3 has")


def a_schedule_without_a_pair() -> None:
    good = by_hand.schedule(attncc.load("causal"), by_hand.partition("contiguous", N, 8, 4))
    *others, last = good.head_classes[0].tasks
    fewer = replace(last, keys=last.keys[1:])
    wrong = replace(good, head_classes=(replace(good.head_classes[0], tasks=(*others, fewer)),))
    refused(lambda: compiled(schedule=wrong), "No rank computes", "unit 6, of rank 3", "unit 0, of rank 0")
    window = attncc.load("sliding_window", window=10)
    refused(lambda: compiled(schedule=compiled(window).schedule), "No rank computes", "op.schedule")
    compiled(window, schedule=compiled().schedule)


def tables_that_do_not_fit(end: str, spread: int) -> None:
    """Rank 2 sends rank 0 one row less, or rank 0 takes what it gets from another for other rows."""
    settings = attncc.distributed.Settings(spread=spread, unit=4)
    original = tables.RankTables.of
    wrong, told = (2, "Rank 2 sends rank 0") if end == "sends" else (0, f"Rank {spread} sends rank 0")

    def corrupted(schedule: Schedule, number: int) -> tables.RankTables:
        found = original(schedule, number)
        if dist.get_rank() != wrong:
            return found
        head_class = found.head_classes[0]
        return replace(found, head_classes=(replace(head_class, keys=_wrong(head_class.keys, end)),))

    with mock.patch.object(tables.RankTables, "of", corrupted):
        words = "expects as many others" if end == "gets" else "in all, which expects"
        refused(lambda: compiled(attncc.load("full"), heads=4, settings=settings), told, words)
    compiled(attncc.load("full"), heads=4, settings=settings)


def _wrong(side: tables.SideTables, end: str) -> tables.SideTables:
    """Return the keys of a rank of which one message of round 1 is another."""
    stores = side.stores

    def other(message: tables.Message) -> tables.Message:
        positions = message.rows.positions(stores)
        wrong = positions[1:] if end == "sends" else np.roll(positions, 1)
        return replace(message, rows=Gather.of(wrong, stores))

    (none, first, *rest) = getattr(side, end)
    return replace(side, **{end: (none, (other(first[0]), *first[1:]), *rest)})


def weights_that_differ() -> None:
    """Values, and types, are compared at the first call; later where the caller asks."""
    rank = dist.get_rank()
    x = torch.zeros(1, 2, N, 8)
    for outliers in (torch.tensor([0.1, 0.7]), torch.tensor([0.1, 0.5], dtype=torch.float64)):
        slopes = outliers if rank == 2 else torch.tensor([0.1, 0.5])
        op = compiled(heads=2, score=biased(slopes=slopes))
        own = op.shard(x)
        refused(lambda op=op, own=own: op(own, own, own), "'slopes'", "differ on rank 2.")
    slopes = torch.tensor([0.1, 0.5])
    op = compiled(heads=2, score=biased(slopes=slopes))
    op(own, own, own)
    slopes.add_(rank == 1)
    op(own, own, own)
    refused(op.check_weights, "differ on rank 1.")
