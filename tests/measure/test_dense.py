"""Dense attention as a baseline: the timed length, and the scaling of its seconds, by a clock of the test."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from attncc.measure.dense import MOST, PROBE, DenseTiming, DenseWorkload


def timed(baseline: DenseWorkload, whole: float, limit: float = 3.0) -> tuple[DenseTiming, list[int], float]:
    """Time a baseline whose call takes `whole` seconds; return that, the lengths of all calls, and their seconds."""
    called: list[int] = []

    def caller(length: int) -> Callable[[], object]:
        return lambda: called.append(length)

    def seconds(length: int) -> float:
        return whole * baseline.edges(length) / baseline.edges(baseline.q_len)

    def sample(call: Callable[[], object]) -> float:
        call()
        return seconds(called[-1])

    found = baseline.timed(caller, sample, limit)
    return found, called, sum(map(seconds, called))


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("whole", [0.001, 1.0, 3.5, 100.0, 10_000.0])
def test_shortened_timings_are_scaled_to_the_whole(whole: float, causal: bool) -> None:
    baseline = DenseWorkload(16384, 16384, causal)
    found, _, spent = timed(baseline, whole)
    assert found.seconds == pytest.approx([whole] * len(found.seconds))
    assert found.is_scaled == (whole > 3)
    shortest = whole * baseline.edges(PROBE) / baseline.edges(16384)
    assert spent <= 3.0 + 5 * shortest


def test_long_calls_are_timed_once_and_short_ones_repeatedly() -> None:
    baseline = DenseWorkload(16384, 16384, True)
    assert timed(baseline, 2.9)[1].count(16384) == 1
    assert timed(baseline, 0.01)[1].count(16384) == 1 + MOST


def test_keys_are_shortened_in_proportion() -> None:
    baseline = DenseWorkload(4096, 16384, False)
    assert baseline.keys(1024) == 4096
    assert baseline.edges(4096) == 16 * baseline.edges(1024)


def test_short_sequences_are_not_shortened() -> None:
    found, called, _ = timed(DenseWorkload(100, 100, True), 5.0)
    assert not found.is_scaled
    assert set(called) == {100}
