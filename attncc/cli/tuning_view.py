"""What `attncc tune` shows: while it runs, on stderr, the best so far and a chart; the space; and what was found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.live import Live

from attncc.cli import output
from attncc.tune.outcome import best, reasons

if TYPE_CHECKING:
    from attncc.tune.result import Result, Results
    from attncc.tune.search import Progress
    from attncc.tune.subject import Job

BARS = "▁▂▃▄▅▆▇█"
#: Trials that the chart has room for.
WIDTH = 60


@contextmanager
def view() -> Iterator[Callable[[Job, Progress], None]]:
    """Show a table that follows the search; yields what listens to it."""
    console = output.PlainConsole(stderr=True)
    with Live(console=console, transient=True, auto_refresh=console.is_terminal, refresh_per_second=4) as live:
        yield lambda job, progress: live.update(rendered(job, progress))


def rendered(job: Job, progress: Progress) -> RenderableType:
    """Return the table of one moment."""
    outcomes = list(progress.finished.values())
    least = best(progress.finished)
    failed = reasons(outcomes)
    last = progress.outcome.reason or output.seconds(progress.outcome.seconds or 0.0)
    rows = {
        "trials": f"{len(outcomes)} of {progress.limits.trials}, {progress.ran} in this run",
        "best": output.seconds(least) if least is not None else "none yet",
        "last": f"{last}: " + ", ".join(f"{name}={value}" for name, value in progress.config.items()),
        "time left": f"{max(0.0, progress.limits.left()):.0f} s",
        "best so far": chart([outcome.seconds for outcome in outcomes]),
    }
    for reason, count in failed.items():
        rows[f"failed {count} x"] = reason
    return output.facts(f"{job.title}, {job.direction}, {job.target}", rows)


def chart(seconds: list[float | None]) -> str:
    """Return a line of bars: the best seconds after each trial, high is slow."""
    found: list[float] = []
    for each in seconds:
        if each is not None:
            found.append(min(each, found[-1]) if found else each)
    if not found:
        return ""
    shown = found[-WIDTH:]
    low, high = min(shown), max(shown)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(BARS[round((each - low) * scale)] for each in shown)


def space_of(direction: str, field: dict[str, object]) -> list[RenderableType]:
    """Return a direction's space: its values, what each constraint removes, and the best by prediction."""
    sizes = f"{direction}: {field['size']:,} configurations, {field['feasible']:,} of them feasible"
    values = output.facts(sizes, {name: ", ".join(map(str, each)) for name, each in field["parameters"].items()})  # type: ignore[attr-defined]
    removed = output.table("", "constraint", "removes", "why", numbers=("removes",))
    for each in field["constraints"]:  # type: ignore[attr-defined]
        removed.add_row(each["rule"], f"{each['removes']:,}", each["why"])
    ranking = output.table("", "rank", "predicted", "configuration", numbers=("rank", "predicted"))
    for rank, each in enumerate(field["ranking"], start=1):  # type: ignore[arg-type]
        predicted = "" if each["predicted_s"] is None else output.seconds(each["predicted_s"])
        ranking.add_row(str(rank), predicted, _configuration(each["config"]))
    return [values, "", removed, "", ranking]


def _configuration(config: dict[str, object]) -> str:
    return ", ".join(f"{name}={value}" for name, value in config.items()) or "the default one"


def summary(found: Results) -> list[RenderableType]:
    """Return what was found, for people."""
    parts: list[RenderableType] = []
    for result in found.each:
        parts += [_direction(result), *result.remarks, ""]
    over = {other: found.over(other) for other in ("default", "dense")}
    said = [f"{value:.2f} x over {other}" for other, value in over.items() if value]
    return [*parts, f"speed-up: {', '.join(said)}" if said else "no speed-up is known"]


def _direction(result: Result) -> RenderableType:
    entry = result.entry
    rows = {
        "source": f"{result.source}, {entry.mode}, {result.trials_run} trials in this run",
        "configuration": _configuration(dict(entry.config)),
        "plan": result.plan,
    }
    for name, seconds in entry.seconds.items():
        samples = entry.samples.get(name, ())
        spread = (max(samples) - min(samples)) / 2 / seconds if len(samples) > 1 else 0
        rows[name] = output.seconds(seconds) + (f" ± {spread:.0%}, {len(samples)} samples" if spread else "")
    if entry.expected_error:
        rows["model"] = f"off by {entry.expected_error:.0%} at most, as a rule; the first measurement replaces it"
    for reason, count in result.reasons.items():
        rows[f"failed {count} x"] = reason
    return output.facts(f"{result.job.title}, {result.job.direction}, {result.job.target}", rows)
