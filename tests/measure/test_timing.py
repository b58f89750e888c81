"""Timings: contestants take turns, and figures are medians with their spread."""

from __future__ import annotations

import pytest

from attncc.measure.timing import Timing, take_turns


def test_timings_report_median_and_spread() -> None:
    timing = Timing((1.0, 2.0, 4.0))
    assert timing.median == 2.0
    assert timing.spread == pytest.approx(0.75)
    assert timing.describe() == {"median_s": 2.0, "spread": 0.75, "samples_s": [1.0, 2.0, 4.0]}


def test_contestants_take_turns() -> None:
    called: list[str] = []

    def contestant(name: str, seconds: float):
        def call() -> dict[str, float]:
            called.append(name)
            return {"forward": seconds, "backward": 2 * seconds}

        return call

    announced: list[str] = []
    found = take_turns({"a": contestant("a", 1.0), "b": contestant("b", 3.0)}, 2, announced.append)
    assert called == announced == ["a", "b", "a", "b"]
    assert found["b"]["backward"].samples == (6.0, 6.0)
