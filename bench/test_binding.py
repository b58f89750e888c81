"""The host's time for new lengths and new tables: decoding steps, and packed documents that differ each time."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

import attncc
from attncc.measure.timing import Timing

STEPS, FIRST, ROUNDS = 60, 4000, 7
#: Each round has lengths of its own, since plans of the last lengths are kept.
LONGEST = FIRST + STEPS * (ROUNDS + 1)


@attncc.pattern
def documents(i, j, *, ids: attncc.Table):
    return (ids[i] == ids[j]) & (j <= i)


@attncc.pattern
def within(i, j, *, lengths: attncc.Table):
    return j < lengths[0]


IDS = np.sort(np.random.default_rng(0).integers(0, 8, LONGEST))
WINDOW, STRIDED = attncc.load("sliding_window", window=256), attncc.load("strided", l=128).union()
CAUSAL = attncc.load("causal")
DECODED: dict[str, tuple[int, Callable[[int], attncc.Pattern]]] = {
    "256-window": (1, lambda n: WINDOW),
    "strided l=128": (1, lambda n: STRIDED),
    "causal": (1, lambda n: CAUSAL),
    "8 documents": (1, lambda n: documents(ids=IDS[:n])),
    "8 sequences with lengths of their own": (8, lambda n: within(lengths=[[n - 10 * b] for b in range(8)])),
}


def _added(first_length: int, batch: int, made: Callable[[int], attncc.Pattern]) -> float:
    """Return the median over steps of the seconds that the first call takes longer than the same call again."""
    cache = torch.randn(2, batch, 8, LONGEST, 64)
    query = torch.randn(batch, 8, 1, 64)
    added = []

    def called(n: int) -> Callable[[], object]:
        key, value = cache[:, :, :, :n]
        return partial(attncc.attention, query, key, value, made(n), q_offset=n - 1)

    last = called(first_length - 1)
    last()
    for n in range(first_length, first_length + STEPS):
        last()  # so that the first call finds the keys in the processor's cache as the second does
        begin = time.perf_counter()
        last = called(n)
        last()
        between = time.perf_counter()
        last()
        added.append(2 * between - begin - time.perf_counter())
    return statistics.median(added)


@pytest.mark.parametrize("name", DECODED)
def test_a_decoding_step_is_bound_in_microseconds(benchmark, bar, name: str) -> None:
    found: list[float] = []

    def run() -> None:
        found.append(_added(FIRST + STEPS * len(found), *DECODED[name]))

    benchmark.pedantic(run, rounds=ROUNDS, warmup_rounds=1)
    added = Timing(tuple(1e3 * each for each in found[1:]))
    what = f"decode, {name}, {FIRST} keys and one more each step: beyond the same call again"
    bar(what, added.median, "at most 0.15 ms", f"{added.spread:.0%}")


@pytest.mark.parametrize(("length", "most"), [(65_536, 2), (1_048_576, 15)])
def test_new_documents_are_planned_in_milliseconds(benchmark, bar, length: int, most: int) -> None:
    samples: list[float] = []
    draw = np.random.default_rng(0)
    many = length // 1024

    def run() -> None:
        ids = torch.from_numpy(np.sort(draw.integers(0, many, length)).astype(np.int32))
        begin = time.perf_counter()
        attncc.compile(documents(ids=ids), length)
        samples.append(1e3 * (time.perf_counter() - begin))

    benchmark.pedantic(run, rounds=ROUNDS, warmup_rounds=2)
    taken = Timing(tuple(samples[2:]))
    bar(f"plan {many:,} new documents, N = {length:,}", taken.median, f"at most {most} ms", f"{taken.spread:.0%}")


def test_new_tables_need_no_graphs(benchmark, bar) -> None:
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")

    @torch.compile(fullgraph=True, backend=counter)
    def block(query, key, value, pattern):
        return attncc.attention(query, key, value, pattern)

    def run() -> None:
        for length in (128, 200, 256, 96):
            for seed in range(100):
                ids = np.sort(np.random.default_rng(seed).integers(0, 5, length))
                block(*(torch.randn(1, 2, length, 16) for _ in range(3)), documents(ids=ids))

    benchmark.pedantic(run, rounds=1)
    bar("torch.compile, 100 tables of documents x 4 lengths", counter.frame_count, "at most 2 graphs")
