"""Gradients of a score's weights: each program leaves sums of its own, which are then added up in one order.

A look-up whose place depends on the query's position, on the key's, or on neither leaves a number a row, or one in all.
One whose place depends on both leaves a table: of the program, or of the head where no two pairs share an entry. Only
as many programs run at a time as there is room for their tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from attncc.backends.triton.launch import Launch
from attncc.backends.triton.scores import WeightsGradient

#: Most bytes of the tables of a look-up, unless a single one is larger.
ROOM = 1 << 28


@dataclass(frozen=True, eq=False)
class WeightSums:
    """What programs `first` .. `last`-1 of a launch leave: arrays by argument name, zero where nothing is written."""

    first: int
    last: int
    arrays: Mapping[str, Tensor]

    def add_to(self, launch: Launch, gradients: Mapping[str, Tensor]) -> None:
        """Add them to `gradients`, float32 by argument name (d_weights_0, ...), in an order that is always the same."""
        for each in launch.spec.sums:
            values, places = self.arrays[f"sums_{each.number}"], self.arrays[f"places_{each.number}"]
            entries = gradients[f"d_weights_{each.slot}"].view(-1, values.shape[-1])
            entries.index_put_((places,), values, accumulate=True)  # it sorts on a GPU, where index_add_ has atomics


def in_turn(launch: Launch, device: torch.device) -> Iterator[WeightSums]:
    """Yield room for the sums of a launch's programs, for as many at a time as there is memory for."""
    tables = [each for each in launch.spec.sums if each.by_pair]  # of a program, or of the `count` programs of a head
    rooms = [max(1, ROOM // (4 * each.extent)) * (launch.count if each.apart else 1) for each in tables]
    most = min(rooms, default=launch.programs)
    for first in range(0, launch.programs, most):
        last = min(first + most, launch.programs)
        arrays = {}
        for each in launch.spec.sums:
            shape = _shape(each, launch, first, last)
            arrays[f"sums_{each.number}"] = torch.zeros(shape, dtype=torch.float32, device=device)
            arrays[f"places_{each.number}"] = torch.zeros(shape[0], dtype=torch.int64, device=device)
        yield WeightSums(first, last, arrays)


def _shape(each: WeightsGradient, launch: Launch, first: int, last: int) -> tuple[int, int]:
    """Return (places, numbers at each place)."""
    if each.by_pair:
        return (last - 1) // launch.count - first // launch.count + 1 if each.apart else last - first, each.extent
    if each.by_key:
        return (last - first) * launch.shape.group_size * launch.blocks.block_n, 1
    return (last - first) * (launch.blocks.block_m if each.by_query else 1), 1
