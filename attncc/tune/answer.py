"""Answers: in a few sentences, what tuning found is good for."""

from __future__ import annotations

from collections.abc import Iterator

from attncc.configs.lookup import OFF, SETTING, setting
from attncc.planner.directions import BOTH
from attncc.tune.outcome import TIME, TRIALS
from attncc.tune.result import Result, Results

#: Ratios nearer to one than this are called the same.
EVEN = 0.02


def answer(found: Results) -> str:
    """Return what runs now, how fast beside the default and dense attention, and what was left out."""
    return " ".join(_sentences(found))


def _sentences(found: Results) -> Iterator[str]:
    if found.each:
        yield _used(found)
        yield from _beside_dense(found)
        yield from _left_out(found)
    if found.is_cancelled:
        done = " and the ".join(map(_direction, found.each))
        yield f"It was stopped {f'after the {done}' if done else 'before anything was found'}."
        yield "The same command goes on where it was."


def _used(found: Results) -> str:
    """Say what runs from now on, and whether the default was the best."""
    first = found.each[0]
    length = first.entry.about["q_len"]
    what = f"{first.job.used_by} runs {first.job.title} at {length:,} positions on {first.job.target}"
    if not all(result.is_stored for result in found.each):
        return f"This could not be stored, so that {first.job.used_by} goes on as before: {_over_default(found)}"
    if setting() == OFF:
        return f"With {SETTING}={OFF}, {first.job.used_by} looks nothing up: {_over_default(found)}"
    if all(result.kept_default for result in found.each):
        return f"{what} as it does without tuning: {_over_default(found)}"
    return f"{what} with what was found: {_over_default(found)}"


def _over_default(found: Results) -> str:
    tried = sum(result.entry.trials for result in found.each)
    kept = [_direction(result) for result in found.each if result.kept_default]
    if tried <= len(found.each):
        return "there was time for the default only."
    if len(kept) == len(found.each):
        return f"the default was already the best of {tried:,} configurations."
    also = f", in the {' and '.join(kept)} the default itself, which was already the best" if kept else ""
    ratio = found.over("default")
    return f"{ratio:.2f} x as fast as the default{also}." if ratio else f"the default doesn't run{also}."


def _beside_dense(found: Results) -> Iterator[str]:
    ratio = found.over("dense")
    if ratio is None:
        return
    predicted = " by prediction" if any(result.entry.mode == "modelled" for result in found.each) else ""
    if ratio > 1 + EVEN:
        yield f"That is {ratio:.1f} x as fast as dense attention{predicted}{_by_direction(found)}."
    elif ratio < 1 - EVEN:
        yield f"Dense attention is faster{predicted}, {1 / ratio:.1f} x{_by_direction(found)}."
    else:
        yield f"Dense attention is as fast{predicted}{_by_direction(found)}."
    scaled = {_direction(result): result.dense_length for result in found.each if result.dense_length}
    if scaled:
        timed = " and ".join(f"in the {direction} at {length:,}" for direction, length in scaled.items())
        yield f"Dense attention was timed {timed} positions, and its time scaled by the number of edges."


def _by_direction(found: Results) -> str:
    if len(found.each) == 1:
        return ""
    return f" ({', '.join(f'{result.job.direction} {result.over_dense:.1f} x' for result in found.each)})"


def _direction(result: Result) -> str:
    return "two directions" if result.job.direction == BOTH else result.job.direction


def _left_out(found: Results) -> Iterator[str]:
    """Say how much was not tried for want of time or trials, and how to go on; nothing of what was remembered."""
    how = {
        TIME: "the time was up; more of it goes on from here, for example --budget 5m",
        TRIALS: "there were no more trials; --effort full makes more",
    }
    for ended, why in how.items():
        cut = [result for result in found.each if result.ended == ended and result.untried]
        counts = [f"{each.untried:,} of {each.candidates:,} in the {_direction(each)}" for each in cut]
        if counts:
            yield f"Not tried: {' and '.join(counts)}, as {why}."
