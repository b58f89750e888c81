"""Budgets and their shares, by a clock of the test."""

from __future__ import annotations

from attncc.tune.budget import Budget


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_time_left_shrinks_as_time_passes() -> None:
    clock = Clock()
    budget = Budget(60.0, clock=clock)
    clock.now += 20
    assert (budget.spent, budget.left()) == (20.0, 40.0)
    clock.now += 50
    assert budget.left() == -10.0


def test_shares_divide_the_time_left() -> None:
    clock = Clock()
    budget = Budget(60.0, clock=clock)
    first = budget.share(0.5)
    clock.now += 10  # it ends early, and the next share gets the rest
    assert first.left() == 20.0
    assert budget.share(1.0).left() == 50.0
    clock.now += 100
    assert budget.share(0.5).left() == 0.0


def test_cancelled_budgets_and_shares_have_no_time_left() -> None:
    cancelled: list[bool] = []
    budget = Budget(60.0, lambda: bool(cancelled), Clock())
    share = budget.share(0.5)
    assert not share.is_cancelled
    cancelled.append(True)
    assert budget.left() < 0
    assert share.left() < 0
    assert share.is_cancelled
