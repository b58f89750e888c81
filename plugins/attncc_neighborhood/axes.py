"""Axes of a neighbourhood: the rule of one axis, which all dimensions share, and tokens beside the grid."""

from __future__ import annotations

import math
from functools import reduce
from operator import and_
from typing import Annotated, NamedTuple

import attncc
from attncc import Bounds, Condition, Index, ParameterError

Positive = Annotated[int, Bounds(minimum=1)]
Count = Annotated[int, Bounds(minimum=0)]


class GridAxis(NamedTuple):
    """One axis of a grid and the window along it; with a `tile`, both are counted in tiles of that many tokens."""

    name: str
    length: int
    kernel: int
    dilation: int = 1
    stride: int = 1
    causal: bool = False
    tile: int = 1

    def check(self) -> None:
        """Raise ParameterError for a window that doesn't fit the axis, or a stride or tile that doesn't fit in it."""
        end = "" if self.name == "length" else f"_{self.name[0]}"
        length = f"{self.name}={self.length}"
        if self.length % self.tile:
            raise ParameterError(
                f"tile{end}={self.tile} with {length}.",
                rule="Tiles cover the grid: the length of an axis is a multiple of the tile's.",
                fix=f"Use a divisor of {self.length}.",
            )
        most = self.length // self.tile // self.dilation
        if self.kernel > most:
            raise ParameterError(
                f"kernel{end}={self.kernel}, dilation{end}={self.dilation}, tile{end}={self.tile} with {length}.",
                rule="A window, of tokens `dilation` apart or of tiles, is at most as long as its axis.",
                fix=f"Use kernel{end}={most} at most." if most else f"Use dilation{end}={self.length} at most.",
            )
        if self.stride > self.kernel:
            raise ParameterError(
                f"stride{end}={self.stride} with kernel{end}={self.kernel}.",
                rule="Queries that share a window lie inside of it.",
                fix=f"Use stride{end}={self.kernel} at most.",
            )

    def sees(self, query: Index, key: Index) -> Condition:
        """Return whether a key's coordinate lies in the window of a query's (NATTEN 0.21, `get_win_start`, mask.hpp).

        Coordinates that are `dilation` apart form a line of their own. `stride` queries of it share the window of their
        leader: the middle one, or with `causal` the last. At its ends the window is shifted inwards, so that each query
        sees `kernel` keys. With `causal` it isn't, and ends at the query.
        """
        query, key, length = query // self.tile, key // self.tile, self.length // self.tile
        same = query % self.dilation == key % self.dilation
        last = (length - 1 - query % self.dilation) // self.dilation
        query, key = query // self.dilation, key // self.dilation
        first = query // self.stride * self.stride
        leader = attncc.minimum(first + (self.stride - 1 if self.causal else self.stride // 2), last)
        seen: Condition
        if self.causal:
            seen = same & (leader - key < self.kernel) & (key <= query)
            return seen
        start = attncc.minimum(attncc.maximum(leader - self.kernel // 2, 0), last + 1 - self.kernel)
        seen = same & (start <= key) & (key < start + self.kernel)
        return seen


def near(i: Index, j: Index, n_k: Index, cls: int, text: int, *axes: GridAxis) -> Condition:
    """Return whether j lies in the window of i along every axis; tokens beside the grid see and are seen by all.

    The n_k keys are those of the whole grid, and of what is beside it.
    """
    for axis in axes:
        axis.check()
    shape = [axis.length for axis in axes]
    coordinates = (attncc.grid(x - cls, shape, length=n_k, beside=cls + text) for x in (i, j))
    seen: Condition = reduce(and_, (axis.sees(*pair) for axis, *pair in zip(axes, *coordinates, strict=True)))
    if not cls and not text:
        return seen
    end = cls + math.prod(shape)
    seen |= (i < cls) | (i >= end) | (j < cls) | (j >= end)
    return seen
