"""Caches between calls suffice for a model of many layers, and are bounded as new patterns are made."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest
import torch

import attncc
from attncc._util import caching
from attncc.ir.tables import TableData
from attncc.runtime import executables


@pytest.fixture
def few_tables(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(caching, "TABLES", 1 << 20)
    yield
    caching.count_table(1 << 20)  # resets the count


def test_forty_patterns_are_planned_and_lowered_once() -> None:
    layers = [attncc.load("sliding_window", window=window) for window in range(1, 41)]
    x = torch.randn(1, 1, 64, 8, requires_grad=True)

    def step() -> None:
        out = x
        for layer in layers:
            out = attncc.attention(out, out, out, layer)
        out.sum().backward()

    step()
    before = executables._lowered.cache_info().misses
    step()
    assert executables._lowered.cache_info().misses == before


def test_old_patterns_are_freed_as_new_ones_are_made(few_tables: None) -> None:
    def documents(step: int) -> weakref.ref[TableData]:
        made = attncc.load("document", ids=[step, step + 1, step + 1]).causal()
        assert made.key
        (table,) = made.predicate.tables
        return weakref.ref(table)

    first = documents(0)
    gc.collect()
    assert first() is not None, "the algebra keeps what it has worked out last"
    caching.count_table(caching.TABLES)
    gc.collect()
    assert first() is None


def test_results_are_evicted_by_size() -> None:
    calls: list[int] = []

    @caching.by_size(lambda result: result)
    def made(size: int) -> int:
        calls.append(size)
        return size

    most = caching.POSITIONS // caching.FEWEST
    for size in (*range(most, most + caching.FEWEST), most):  # each counts as one of the largest entries
        made(size)
    assert calls == [*range(most, most + caching.FEWEST)]
    made(1)
    made(most + 1)
    assert calls[-2:] == [1, most + 1], "the one used longest ago made room"


def test_a_result_larger_than_the_cache_is_kept() -> None:
    calls = []

    @caching.by_size(lambda result: result)
    def made(size: int) -> int:
        calls.append(size)
        return size

    made(1 << 60)
    made(1 << 60)
    assert calls == [1 << 60]


def test_eviction_changes_no_key(few_tables: None) -> None:
    made = attncc.load("strided", l=7)
    key = made.key
    caching.count_table(caching.TABLES)
    assert attncc.load("strided", l=7).key == key
    assert attncc.load("strided", l=7) == made


def test_the_number_of_small_results_is_bounded() -> None:
    @caching.by_size(lambda result: result)
    def made(size: int, step: int) -> int:
        return size

    for step in range(caching.MOST + 100):
        made(3, step)
    assert made.cache_info().currsize <= caching.POSITIONS
    assert made.cache_info().misses == caching.MOST + 100
    made(3, 0)
    assert made.cache_info().misses == caching.MOST + 101, "the first went"
