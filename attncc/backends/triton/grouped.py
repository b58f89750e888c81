"""Grouped launches: one grid for a kernel of several groups of heads, as the sequences of a batch are.

Each group has numbers and arrays of its own: how many keys there are, and where. In one launch arrays stand behind one
another, numbers in a table with a row for each group, and each program knows its group and head. What a program
computes is the same as in a launch of its group alone, and so is the order of sums of split tiles.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from attncc.backends.triton.launch import Launch
from attncc.backends.triton.pack_gqa import GridHeads
from attncc.ir.tables import Array

#: The launches of a group that run one after another: one over whole tiles, or one over split ones and their joins.
Step = tuple[Launch, ...]


def grouped(groups: Iterable[Sequence[Launch]]) -> list[Launch]:
    """Return the launches of groups that share no row, those of one kernel as one; each group keeps its order."""
    columns: list[tuple[object, list[Step]]] = []
    for launches in groups:
        first = 0
        for step in _steps(launches):
            kind = tuple(map(_kind, step))
            at = next((n for n in range(first, len(columns)) if columns[n][0] == kind), len(columns))
            if at == len(columns):
                columns.append((kind, []))
            columns[at][1].append(step)
            first = at + 1
    return [_together(column) for _, steps in columns for column in zip(*steps, strict=True)]


def _steps(launches: Sequence[Launch]) -> Iterator[Step]:
    """Yield launches over split tiles with those that join their parts, others alone."""
    step: list[Launch] = []
    for launch in launches:
        if step and launch.spec.role != "join":
            yield tuple(step)
            step = []
        step.append(launch)
    if step:
        yield tuple(step)


def _kind(launch: Launch) -> object:
    """Return what launches share that can be one; sums for the gradients of weights are counted by launch."""
    if launch.spec.sums:
        return launch
    return launch.spec, launch.shape, launch.blocks, tuple(launch.writes.items())


def _together(launches: Sequence[Launch]) -> Launch:
    """Return launches of one kernel as one, with the programs of all their heads.

    A group of some batch entries is grouped by itself, too: other steps find it beside others, and have one kernel.
    """
    first = launches[0]
    if first.spec.sums or (len(launches) == 1 and not first.heads.by_entry):
        return first
    spec = replace(first.spec, grouped=True)
    bases = {name: _before([len(launch.arrays[name]) for launch in launches]) for name in spec.group_arrays}
    rows = [
        [*(launch.numbers[name] for name in spec.group_numbers), *(each[n] for each in bases.values())]
        for n, launch in enumerate(launches)
    ]
    arrays = {name: np.concatenate([launch.arrays[name] for launch in launches]) for name in bases}
    arrays |= _heads(launches) | _programs(launches) | {"group_numbers": np.array(rows)}
    heads = GridHeads(first.shape.group_size if spec.by_kv_head else 1, 1)
    kept = {name: array.astype(np.int32) for name, array in arrays.items()}
    numbers = {"parts_per_head": 0}  # parts are numbered through all heads
    return replace(first, spec=spec, heads=heads, count=len(kept["programs"]), arrays=kept, numbers=numbers)


def _before(sizes: Sequence[int]) -> Array:
    """Return the sum of the sizes before each."""
    return np.cumsum([0, *sizes])[:-1]


def _heads(launches: Sequence[Launch]) -> dict[str, Array]:
    """Return the lists of heads, one behind the other."""
    listed = [launch.arrays["head_subset"] for launch in launches]
    found = {"head_subset": np.concatenate(listed)}
    if launches[0].spec.by_kv_head:
        bases = _before([len(each) for each in listed])
        members = (launch.arrays["kv_groups"] + base for launch, base in zip(launches, bases, strict=True))
        found["kv_groups"] = np.concatenate([*members])
    return found


def _programs(launches: Sequence[Launch]) -> dict[str, Array]:
    """Return the group and head of each program, and what it works on: an item, or the parts of a split tile."""
    per_head = [launch.grid_heads for launch in launches]
    head = [np.repeat(np.arange(n), launch.count) for n, launch in zip(per_head, launches, strict=True)]
    group = np.repeat(np.arange(len(launches)), [len(each) for each in head])
    heads = np.concatenate([each + base for each, base in zip(head, _before(per_head), strict=True)])
    programs = np.column_stack([group, heads])
    if launches[0].spec.role == "join":
        parts = [launch.numbers["parts_per_head"] for launch in launches]
        bases = _before([n * heads for n, heads in zip(parts, per_head, strict=True)])
        tiles = [np.tile(launch.arrays["split_tiles"], (n, 1)) for n, launch in zip(per_head, launches, strict=True)]
        for own, numbers, count, base in zip(tiles, head, parts, bases, strict=True):
            own[:, 1:] += (base + numbers * count)[:, None].astype(own.dtype)
        return {"programs": programs, "split_tiles": np.concatenate(tiles)}
    runs = np.concatenate([launch.arrays["runs"] for launch in launches])
    bases = _before([len(launch.arrays["runs"]) for launch in launches])
    items = [np.tile(launch.arrays["items"], (n, 1)) for n, launch in zip(per_head, launches, strict=True)]
    for own, base in zip(items, bases, strict=True):
        own[:, 1:] += base
    every = np.concatenate(items)
    before = np.cumsum(np.concatenate([[0], runs[:, 1] - runs[:, 0]]))
    order = np.argsort(before[every[:, 1]] - before[every[:, 3]], kind="stable")  # longest first
    found = {"programs": programs[order], "items": every[order], "runs": runs}
    if launches[0].spec.split:
        found["part_numbers"] = _part_numbers(launches)[order]
    return found


def _part_numbers(launches: Sequence[Launch]) -> Array:
    """Return the part of each program, counted through all heads of all launches."""
    found = []
    for launch, base in zip(launches, _before([launch.programs for launch in launches]), strict=True):
        of_heads = base + launch.count * np.arange(launch.grid_heads)
        found.append((of_heads[:, None] + launch.arrays["part_numbers"]).ravel())
    return np.concatenate(found)
