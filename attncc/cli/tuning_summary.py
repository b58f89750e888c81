"""The summary of a tuning: in a few sentences, what its result is good for."""

from __future__ import annotations

from collections.abc import Iterator

from attncc.configs.setting import OFF, SETTING, setting
from attncc.planner.directions import BOTH
from attncc.tune.evaluation import TIME, TRIALS
from attncc.tune.result import TaskResult, TuningResult

#: Ratios nearer to one than this are called the same.
EVEN = 0.02


def summary(tuned: TuningResult) -> str:
    """Return what runs now, how fast beside the default and dense attention, and what was left out."""
    return " ".join(_sentences(tuned))


def _sentences(tuned: TuningResult) -> Iterator[str]:
    if tuned.each:
        yield _used(tuned)
        yield from _beside_dense(tuned)
        yield from _left_out(tuned)
    if tuned.is_cancelled:
        done = " and the ".join(map(_direction, tuned.each))
        yield f"It was stopped {f'after the {done}' if done else 'before anything was found'}."
        yield "The same command goes on where it was."


def _used(tuned: TuningResult) -> str:
    """Say what runs from now on, and whether the default was the best."""
    first = tuned.each[0]
    length = first.entry.about["q_len"]
    what = f"{first.task.used_by} runs {first.task.title} at {length:,} positions on {first.task.target}"
    if not all(result.is_stored for result in tuned.each):
        return f"This could not be stored, so that {first.task.used_by} goes on as before: {_over_default(tuned)}"
    if setting() == OFF:
        return f"With {SETTING}={OFF}, {first.task.used_by} looks nothing up: {_over_default(tuned)}"
    if all(result.kept_default for result in tuned.each):
        return f"{what} as it does without tuning: {_over_default(tuned)}"
    return f"{what} with what was found: {_over_default(tuned)}"


def _over_default(tuned: TuningResult) -> str:
    tried = sum(result.entry.trials for result in tuned.each)
    kept = [_direction(result) for result in tuned.each if result.kept_default]
    if tried <= len(tuned.each):
        return "there was time for the default only."
    if len(kept) == len(tuned.each):
        return f"the default was already the best of {tried:,} configurations."
    also = f", in the {' and '.join(kept)} the default itself, which was already the best" if kept else ""
    ratio = tuned.over("default")
    return f"{ratio:.2f} x as fast as the default{also}." if ratio else f"the default doesn't run{also}."


def _beside_dense(tuned: TuningResult) -> Iterator[str]:
    ratio = tuned.over("dense")
    if ratio is None:
        return
    predicted = " by prediction" if any(result.entry.mode == "modelled" for result in tuned.each) else ""
    if ratio > 1 + EVEN:
        yield f"That is {ratio:.1f} x as fast as dense attention{predicted}{_by_direction(tuned)}."
    elif ratio < 1 - EVEN:
        yield f"Dense attention is faster{predicted}, {1 / ratio:.1f} x{_by_direction(tuned)}."
    else:
        yield f"Dense attention is as fast{predicted}{_by_direction(tuned)}."
    scaled = {_direction(result): result.dense_length for result in tuned.each if result.dense_length}
    if scaled:
        timed = " and ".join(f"in the {direction} at {length:,}" for direction, length in scaled.items())
        yield f"Dense attention was timed {timed} positions, and its time scaled by the number of edges."


def _by_direction(tuned: TuningResult) -> str:
    if len(tuned.each) == 1:
        return ""
    return f" ({', '.join(f'{result.task.direction} {result.over_dense:.1f} x' for result in tuned.each)})"


def _direction(result: TaskResult) -> str:
    return "two directions" if result.task.direction == BOTH else result.task.direction


def _left_out(tuned: TuningResult) -> Iterator[str]:
    """Say how much was not tried for want of time or trials, and how to go on; stored results left nothing out."""
    how = {
        TIME: "the time was up; more of it goes on from here, for example --budget 5m",
        TRIALS: "there were no more trials; --effort full makes more",
    }
    for ended, why in how.items():
        cut = [result for result in tuned.each if result.ended == ended and result.untried]
        counts = [f"{each.untried:,} of {each.candidates:,} in the {_direction(each)}" for each in cut]
        if counts:
            yield f"Not tried: {' and '.join(counts)}, as {why}."
