"""What is kept between calls, and when it is forgotten, so that patterns made anew at each step don't pile up."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import lru_cache
from threading import Lock
from typing import Any, ParamSpec, TypeVar

from cachetools import LRUCache, cached
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
_lock = Lock()
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
) -> Callable[[Callable[Arguments, Result]], Callable[Arguments, Result]]:
    """Keep the last results of a function (decorator), as many as stand for POSITIONS in all, MOST of them.

    size: what a result stands for. key: what arguments are known by, by default themselves.
    """

    def weight(result: object) -> int:
        return min(max(size(result), POSITIONS // MOST), POSITIONS // FEWEST)

    def decorate(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
        found: LRUCache[Hashable, Result] = LRUCache(POSITIONS, weight)
        return cached(found, key, Lock(), info=True)(function)

    return decorate


def count_table(nbytes: int) -> None:
    """Take note of a new table that takes so much, and forget what expressions keep alive once there were many."""
    global _new_tables
    with _lock:
        _new_tables += nbytes
        if _new_tables < TABLES:
            return
        _new_tables = 0
    for forget in _forgettable:
        forget()
    clear_cache()
