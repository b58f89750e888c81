"""What `attncc tune` shows while it runs, on stderr, and what Ctrl-C means meanwhile."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from rich.console import Console, RenderableType
from rich.live import Live

from attncc.cli import output
from attncc.cli.progress import lines, stderr
from attncc.tune.evaluation import best, reasons
from attncc.tune.listener import Listener

if TYPE_CHECKING:
    from attncc.tune.result import TaskResult
    from attncc.tune.search import Progress
    from attncc.tune.task import TuningTask

BARS = "▁▂▃▄▅▆▇█"
#: Trials that the chart has room for.
WIDTH = 60
STOPPING = "stopping, with what was found; again stops at once"


class Watch(Listener):
    """Keeps where tuning stands, for `show`, which gets the text of each step; `deliver` gets each result.

    Once it is cancelled, it says so to who asks.

    Attributes:
        results: Those so far.
        progress: That of the task under way.
    """

    def __init__(self, show: Callable[[str], None], deliver: Callable[[TaskResult], None]) -> None:
        self._show, self._deliver = show, deliver
        self.results: list[TaskResult] = []
        self.task: TuningTask | None = None
        self.progress: Progress | None = None
        self.signal = 0

    def on_step(self, task: TuningTask, step: str) -> None:
        """Show what begins."""
        self.task = task
        least = best(self.progress.finished) if self.progress is not None else None
        known = "" if least is None else f"; best so far {output.seconds(least)}"
        self._show(f"{task.direction}: {step}{known}{f' ({STOPPING})' if self.signal else ''}")

    def on_trial(self, task: TuningTask, progress: Progress) -> None:
        """Keep what is known, which the next step shows."""
        self.progress = progress

    def on_result(self, result: TaskResult) -> None:
        """Keep a result and hand it on."""
        self.results.append(result)
        self.progress = None
        self._deliver(result)

    def is_cancelled(self) -> bool:
        """Return whether a signal came."""
        return bool(self.signal)

    def stop(self, number: int, frame: FrameType | None = None) -> None:
        """Take a signal: the first one ends the search if a trial has ended, any other one the command."""
        again, self.signal = bool(self.signal), number
        if again or self.progress is None:
            raise KeyboardInterrupt
        assert self.task is not None
        self._show(f"{self.task.direction}: {STOPPING}")


@contextmanager
def watching(deliver: Callable[[TaskResult], None]) -> Iterator[Watch]:
    """Show what tuning does while the block runs: a table on a terminal, or else lines."""
    console = stderr()
    with ExitStack() as stack:
        if console.is_terminal:
            yield stack.enter_context(_live(console, deliver))
        else:
            yield Watch(stack.enter_context(lines(console)), deliver)


@contextmanager
def _live(console: Console, deliver: Callable[[TaskResult], None]) -> Iterator[Watch]:
    status = LiveStatus()
    with Live(status, console=console, transient=True, refresh_per_second=4) as live:

        def aside(result: TaskResult) -> None:
            live.stop()  # results go to stdout, which may be the same terminal
            deliver(result)
            live.start()

        status.watch = Watch(status.show, aside)
        yield status.watch


class LiveStatus:
    """A table that shows, whenever it is drawn, where tuning stands then."""

    def __init__(self) -> None:
        self.watch: Watch | None = None
        self._step, self._begin = "loading", time.monotonic()

    def show(self, step: str) -> None:
        """Begin a step."""
        self._step = step

    def __rich__(self) -> RenderableType:
        rows = {"now": self._step, "elapsed": f"{time.monotonic() - self._begin:.0f} s"}
        if self.watch is None or self.watch.task is None:
            return output.facts("", rows)
        task, progress = self.watch.task, self.watch.progress
        return output.facts(
            f"{task.title}, {task.direction}, {task.target}", rows | ({} if progress is None else standing(progress))
        )


def standing(progress: Progress) -> dict[str, str]:
    """Return in words where a search stands."""
    outcomes = list(progress.finished.values())
    least = best(progress.finished)
    last = progress.outcome.reason or output.seconds(progress.outcome.seconds or 0.0)
    rows = {
        "trials": f"{len(outcomes)} of {progress.limits.trials}, {progress.ran} in this run",
        "best": output.seconds(least) if least is not None else "none yet",
        "last": f"{last}: " + ", ".join(f"{name}={value}" for name, value in progress.config.items()),
        "best so far": chart([outcome.seconds for outcome in outcomes]),
    }
    for reason, count in reasons(outcomes).items():
        rows[f"failed {count} x"] = reason
    return rows


def chart(seconds: list[float | None]) -> str:
    """Return a line of bars: the best seconds after each trial, high is slow."""
    least: list[float] = []
    for each in seconds:
        if each is not None:
            least.append(min(each, least[-1]) if least else each)
    if not least:
        return ""
    shown = least[-WIDTH:]
    low, high = min(shown), max(shown)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(BARS[round((each - low) * scale)] for each in shown)


@contextmanager
def heeding(watch: Watch) -> Iterator[None]:
    """Have Ctrl-C, and a request to terminate, stop the search while the block runs."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, watch.stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
