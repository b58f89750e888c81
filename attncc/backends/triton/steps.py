"""Steps: the launches of a direction in their order, with the size of their grids and what their items visit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from attncc.backends.triton.launch import Launch
from attncc.backends.triton.program import Program, Side
from attncc.ir.tables import Array
from attncc.planner.directions import check_direction


@dataclass(frozen=True, eq=False)
class Step:
    """One launch of a side, in a grid of its count for each member.

    passes: how often an item goes through its runs: a tile of keys does for each query head that shares its key head.
    """

    launch: Launch
    side: Side
    members: int
    passes: float = 1.0

    @property
    def programs(self) -> int:
        """Size of the grid."""
        return self.launch.count * self.members

    @property
    def has_tiles(self) -> bool:
        """Whether its programs go through tiles: forward, query_gradient and key_gradient do."""
        return "items" in self.launch.arrays

    def visited(self) -> tuple[Array, Array]:
        """Return how many full and how many partial tiles each item visits, (count,) each, in launch order."""
        items, runs = (np.asarray(self.launch.arrays[name]) for name in ("items", "runs"))
        before = np.concatenate([[0], np.cumsum(runs[:, 1] - runs[:, 0], dtype=np.int64)])
        _, full, partial, end = items.T
        return (before[partial] - before[full]) * self.passes, (before[end] - before[partial]) * self.passes

    def distinct(self) -> int:
        """Return how many tiles of the other axis one member's items read, each counted once."""
        runs = np.asarray(self.launch.arrays["runs"])
        if not len(runs):
            return 0
        last = int(runs[:, 1].max()) + 1
        opened = np.bincount(runs[:, 0], minlength=last) - np.bincount(runs[:, 1], minlength=last)
        return int((np.cumsum(opened) > 0).sum())


def steps(program: Program, direction: str) -> Iterator[Step]:
    """Yield the launches of a direction, `forward` or `backward` (where lse has no gradient); raises ConfigError."""
    check_direction(direction)
    if direction == "forward":
        yield from _of_side(program.forward)
        return
    delta = Side((), covers=True, once=True)
    yield Step(program.delta, delta, program.batch * program.heads)
    if not program.atomic:
        yield from _of_side(program.query_gradient)
    yield from _of_side(program.key_gradient)


def _of_side(side: Side) -> Iterator[Step]:
    for part in side.parts:
        for launch in (part.work.whole, part.work.split, *part.work.joins):
            if launch is not None:
                shared = part.members.queries / part.members.keys if launch.spec.kernel == "key_gradient" else 1.0
                yield Step(launch, side, part.programs(launch) // launch.count, shared)
