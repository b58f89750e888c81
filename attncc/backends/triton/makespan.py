"""How long a grid of programs takes, when each multiprocessor takes the next one as soon as it has room."""

from __future__ import annotations

import numpy as np

from attncc.ir.tables import Array

#: Rounds at the end of a grid that are followed one by one; before them all slots are about equally busy.
_LAST_ROUNDS = 64


def makespan(seconds: Array, members: int, slots: int) -> float:
    """Return when the last program ends: `seconds` (count,) of the programs of each of `members`, in launch order.

    `slots` programs run at a time. In each round the slots that are done first get the next programs.
    """
    count = len(seconds)
    if not count or not members:
        return 0.0
    programs = count * members
    followed = min(programs, _LAST_ROUNDS * slots)
    last = np.tile(seconds, -(-followed // count))[-followed:]
    before = float(seconds.sum()) * members - float(last.sum())
    busy = np.full(slots, max(before, 0.0) / slots)
    for begin in range(0, followed, slots):
        taken = last[begin : begin + slots]
        busy.sort()
        busy[: len(taken)] += taken
    return float(busy.max())
