"""How long a grid of programs takes, when each multiprocessor takes the next one as soon as it has room."""

from __future__ import annotations

import heapq

import numpy as np

from attncc.ir.tables import Array

#: Programs at the end of a grid that are followed one by one; before them all slots are taken as equally busy.
_FOLLOWED = 4096


def makespan(seconds: Array, members: int, slots: int) -> float:
    """Return when the last program ends: `seconds` (count,) of the programs of each of `members`, in launch order.

    `slots` programs run at a time; the slot that is done first gets the next one.
    """
    count = len(seconds)
    if not count or not members:
        return 0.0
    followed = min(count * members, max(_FOLLOWED, 5 * slots))
    last = np.tile(seconds, -(-followed // count))[-followed:]
    before = float(seconds.sum()) * members - float(last.sum())
    begin = 0.0 if followed == count * members else max(before, 0.0) / slots
    free = [begin] * slots
    for each in last.tolist():
        heapq.heapreplace(free, free[0] + each)
    return max(*free, float(seconds.max()))
