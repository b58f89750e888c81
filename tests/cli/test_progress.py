"""Progress without a terminal: its lines and their times, by a clock of the test."""

from __future__ import annotations

from attncc.cli.progress import Lines


class Told:
    """Lines with a clock that the test moves."""

    def __init__(self) -> None:
        self.now, self.lines = 0.0, list[str]()
        self.steps = Lines(self.lines.append, lambda: self.now)

    def wait(self, seconds: float) -> None:
        """Let time pass, half a second at a time."""
        for _ in range(round(2 * seconds)):
            self.now += 0.5
            self.steps.tick()


def test_quick_steps_print_nothing() -> None:
    told = Told()
    for name in "abc":
        told.steps(name)
        told.wait(0.5)
    assert told.lines == []


def test_a_step_is_printed_within_two_seconds() -> None:
    told = Told()
    told.steps("planning")
    told.wait(3)
    assert told.lines == ["[2 s] planning"]


def test_short_steps_are_not_all_printed() -> None:
    told = Told()
    for number in range(100):
        told.steps(f"step {number}")
        told.wait(0.5)
    assert 20 <= len(told.lines) <= 25


def test_a_long_step_is_printed_repeatedly() -> None:
    told = Told()
    told.wait(1)
    told.steps("compiling")
    told.wait(25)
    assert told.lines == ["[2 s] compiling", "[12 s] compiling, for 11 s", "[22 s] compiling, for 21 s"]


def test_steps_are_numbered_once_their_count_is_known() -> None:
    told = Told()
    told.steps("planning")
    told.wait(2)
    told.steps.expect(7)
    told.steps("forward")
    told.wait(2)
    assert told.lines == ["[2 s] planning", "[4 s] 1 of 7: forward"]
