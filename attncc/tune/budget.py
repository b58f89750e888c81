"""Budgets: the time that tuning may take, in all and in parts."""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], float]


class Budget:
    """Seconds from now on, of which none are left once `is_cancelled` says so.

    It is asked, and ends nothing by itself: what takes time looks at `left` before it goes on.
    """

    def __init__(
        self, seconds: float, is_cancelled: Callable[[], bool] = lambda: False, clock: Clock = time.monotonic
    ) -> None:
        self.seconds = seconds
        self._is_cancelled, self._clock = is_cancelled, clock
        self._begin = clock()

    def left(self) -> float:
        """Return the seconds that are left, negative beyond the end."""
        return self.seconds - self.spent if not self._is_cancelled() else -1.0

    @property
    def spent(self) -> float:
        """Seconds since the beginning."""
        return self._clock() - self._begin

    @property
    def is_cancelled(self) -> bool:
        """Whether it ended before its time."""
        return self._is_cancelled()

    def share(self, part: float) -> Budget:
        """Return a budget of part of what is left, from now on; it is cancelled with this one."""
        return Budget(max(0.0, part * self.left()), self._is_cancelled, self._clock)
