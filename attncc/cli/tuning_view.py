"""What `attncc tune` shows on stderr while it runs: the best so far, trials and why some failed, time left, a chart."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console, RenderableType
from rich.live import Live

from attncc.cli import output
from attncc.tune.outcome import best, reasons

if TYPE_CHECKING:
    from attncc.tune.job import Job
    from attncc.tune.search import Progress

BARS = "▁▂▃▄▅▆▇█"
#: Trials that the chart has room for.
WIDTH = 60


@contextmanager
def view() -> Iterator[Callable[[Job, Progress], None]]:
    """Show a table that follows the search; yields what listens to it."""
    console = Console(stderr=True)
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
    return output.facts(f"{job.pattern!r}, {job.direction}, {job.target}", rows)


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
