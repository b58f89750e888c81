"""What is kept between calls, and when it is forgotten, so that patterns made anew at each step don't pile up."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import lru_cache
from threading import Lock
from typing import Any, Generic, NamedTuple, ParamSpec, TypeVar

from cachetools.keys import hashkey
from sympy.core.cache import clear_cache

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

#: Bytes that new tables take, after which what the algebra keeps is forgotten: expressions keep tables alive.
TABLES = 1 << 28
#: Positions that results kept by size may stand for; each takes some 50 bytes of a plan and its executable.
POSITIONS = 1 << 25
#: Results that are kept whatever their size.
FEWEST = 16
#: Results that are kept at most: the smallest take some 20 kB, too.
MOST = 4096

_forgettable: list[Callable[[], None]] = []
_new_tables = 0


def algebra(most: int) -> Callable[[Callable[Arguments, Result]], Callable[Arguments, Result]]:
    """Keep the last `most` results of a function of expressions (decorator), until many tables have been made."""

    def decorate(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
        kept = lru_cache(maxsize=most)(function)
        _forgettable.append(kept.cache_clear)
        return kept  # type: ignore[return-value]  # it asks for hashable arguments

    return decorate


def by_size(
    size: Callable[[Any], int], key: Callable[..., Hashable] = hashkey
) -> Callable[[Callable[Arguments, Result]], BySize[Arguments, Result]]:
    """Keep the last results of a function (decorator), as many as stand for POSITIONS in all, MOST of them.

    Args:
        size: What a result stands for.
        key: What arguments are known by, by default themselves.
    """
    return lambda function: BySize(function, size, key)


class CacheInfo(NamedTuple):
    """How many results were made, and what those that are kept stand for."""

    misses: int
    currsize: int


class BySize(Generic[Arguments, Result]):
    """A function whose last results are kept; see `by_size`. A result is found or added in a microsecond."""

    def __init__(
        self, function: Callable[Arguments, Result], size: Callable[[Any], int], key: Callable[..., Hashable]
    ) -> None:
        self.__wrapped__ = function
        self._misses = 0
        self._size, self._key = size, key
        self._kept: OrderedDict[Hashable, tuple[Result, int]] = OrderedDict()
        self._weight = 0
        self._lock = Lock()

    def __call__(self, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        key = self._key(*args, **kwargs)
        with self._lock:
            if (found := self._kept.get(key)) is not None:
                self._kept.move_to_end(key)
                return found[0]
        made = self.__wrapped__(*args, **kwargs)
        with self._lock:
            return self._add(key, made)

    def _add(self, key: Hashable, made: Result) -> Result:
        """Return the result that is kept, which another thread may have made, and drop those that weigh too much."""
        self._misses += 1
        if (other := self._kept.get(key)) is not None:
            return other[0]
        weight = min(max(self._size(made), POSITIONS // MOST), POSITIONS // FEWEST)
        self._kept[key] = made, weight
        self._weight += weight
        while self._weight > POSITIONS:
            self._weight -= self._kept.popitem(last=False)[1][1]
        return made

    def cache_info(self) -> CacheInfo:
        """Return how many results were made, and what those that are kept stand for."""
        return CacheInfo(self._misses, self._weight)

    def cache_clear(self) -> None:
        """Forget all results."""
        with self._lock:
            self._kept.clear()
            self._weight = 0


def count_table(nbytes: int) -> None:
    """Take note of a new table that takes so much, and forget what expressions keep alive once there were many."""
    global _new_tables
    _new_tables += nbytes  # a few that threads count at once, and lose, don't matter
    if _new_tables < TABLES:
        return
    _new_tables = 0
    for forget in _forgettable:
        forget()
    clear_cache()
