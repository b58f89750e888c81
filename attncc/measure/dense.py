"""Dense attention as a baseline: timed at the length that there is time for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

#: Queries at which a first call says how long longer ones take, and to which lengths are halved.
PROBE = 1024
#: Calls at the length that is chosen, if there is time for them.
MOST = 3

#: Returns a call of dense attention over the first queries, a given number, and as large a part of the keys.
Caller = Callable[[int], Callable[[], object]]


@dataclass(frozen=True)
class DenseTiming:
    """Seconds of calls over `q_len` queries, as timed at `length` of them and scaled by the number of edges."""

    seconds: tuple[float, ...]
    length: int
    q_len: int

    @property
    def is_scaled(self) -> bool:
        """Whether a shorter length was timed."""
        return self.length < self.q_len


@dataclass(frozen=True)
class DenseWorkload:
    """Dense attention over `q_len` queries and `kv_len` keys; `is_causal` halves the edges."""

    q_len: int
    kv_len: int
    is_causal: bool

    def keys(self, length: int) -> int:
        """Return the keys that go with `length` queries: the same part of all."""
        return max(1, self.kv_len * length // self.q_len)

    def edges(self, length: int) -> int:
        """Return the pairs that `length` queries see."""
        keys = self.keys(length)
        return keys * (keys + 1) // 2 if self.is_causal else length * keys

    def timed(self, caller: Caller, sample: Callable[[Callable[[], object]], float], limit: float) -> DenseTiming:
        """Time it for about `limit` seconds in all; a call that takes longer is timed at half the length, and so on.

        Args:
            sample: Returns the seconds of a call. What is called first at a length isn't counted, unless it takes too
                long.
        """
        length = self._affordable(self._probed(caller, sample), limit)
        call = caller(length)
        seconds = [sample(call)]
        if 2 * seconds[0] <= limit:
            seconds = [sample(call)]  # the first one warms up
        while len(seconds) < MOST and sum(seconds) + seconds[-1] <= limit / 2:
            seconds.append(sample(call))
        scale = self.edges(self.q_len) / self.edges(length)
        return DenseTiming(tuple(scale * each for each in seconds), length, self.q_len)

    def _probed(self, caller: Caller, sample: Callable[[Callable[[], object]], float]) -> float:
        """Return the seconds of an edge, as a short length has them."""
        length = min(PROBE, self.q_len)
        call = caller(length)
        call()
        return sample(call) / self.edges(length)

    def _affordable(self, per_edge: float, limit: float) -> int:
        """Return the greatest length whose call is expected to take no longer than the limit."""
        length = self.q_len
        while length > PROBE and per_edge * self.edges(length) > limit:
            length = max(PROBE, length // 2)
        return length
