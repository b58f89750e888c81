"""Progress without a terminal: its lines and their times, by a clock of the test."""

from __future__ import annotations

import pytest

from attncc.cli.progress import ProgressLines


class Recorded:
    """ProgressLines with a clock that the test moves."""

    def __init__(self) -> None:
        self.now, self.lines = 0.0, list[str]()
        self.steps = ProgressLines(self.lines.append, lambda: self.now)

    def wait(self, seconds: float) -> None:
        """Let time pass, half a second at a time."""
        for _ in range(round(2 * seconds)):
            self.now += 0.5
            self.steps.tick()


def test_quick_steps_print_nothing() -> None:
    recorded = Recorded()
    for name in "abc":
        recorded.steps(name)
        recorded.wait(0.5)
    assert recorded.lines == []


def test_a_step_is_printed_within_two_seconds() -> None:
    recorded = Recorded()
    recorded.steps("planning")
    recorded.wait(3)
    assert recorded.lines == ["[2 s] planning"]


def test_short_steps_are_not_all_printed() -> None:
    recorded = Recorded()
    for number in range(100):
        recorded.steps(f"step {number}")
        recorded.wait(0.5)
    assert 20 <= len(recorded.lines) <= 25


def test_a_long_step_is_printed_repeatedly() -> None:
    recorded = Recorded()
    recorded.wait(1)
    recorded.steps("compiling")
    recorded.wait(25)
    assert recorded.lines == ["[2 s] compiling", "[12 s] compiling, for 11 s", "[22 s] compiling, for 21 s"]


def test_steps_are_numbered_once_their_count_is_known() -> None:
    recorded = Recorded()
    recorded.steps("planning")
    recorded.wait(2)
    recorded.steps.expect(7)
    recorded.steps("forward")
    recorded.wait(2)
    assert recorded.lines == ["[2 s] planning", "[4 s] 1 of 7: forward"]


@pytest.mark.timeout(10)
def test_a_step_may_begin_while_a_line_is_written() -> None:
    """As Ctrl-C has it, whose handler runs in the thread that it interrupts."""
    recorded = Recorded()

    def interrupted(line: str) -> None:
        recorded.lines.append(line)
        if "trial" in line:
            recorded.steps("stopping")

    recorded.steps = ProgressLines(interrupted, lambda: recorded.now)
    recorded.steps("trial 1")
    recorded.wait(4)
    assert recorded.lines == ["[2 s] trial 1", "[4 s] stopping"]
