"""Progress on stderr: a bar on a terminal, plain lines elsewhere, and nothing for short work."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from rich.console import Console

from attncc.cli.output import PlainConsole

if TYPE_CHECKING:
    from rich.progress import Progress

#: Seconds between two lines, and before the first one.
PAUSE = 2.0
#: Seconds after which a step that goes on is told again.
REPEAT = 10.0


class Steps(Protocol):
    """Called with the name of each step before it begins."""

    def __call__(self, name: str) -> None: ...

    def expect(self, total: int) -> None:
        """Say how many steps there are, once that is known."""
        ...


class ProgressLines:
    """Tells in lines which step is under way: at most one line in `PAUSE` seconds, and one in `REPEAT` of a long step.

    A call only notes the step, since one may come from a signal's handler in the middle of any other write. `tick` is
    called now and then, always by the same thread, and writes the lines.

    Args:
        write: Gets each line.
    """

    def __init__(self, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._write, self._clock = write, clock
        self._begin = self._told_at = clock()
        self._step = self._told = _Step("", self._begin)
        self._begun, self._total = 0, 0

    def __call__(self, name: str) -> None:
        """Begin a step."""
        self._begun += 1
        count = f"{self._begun} of {self._total}: " if self._total else ""
        self._step = _Step(count + name, self._clock())

    def expect(self, total: int) -> None:
        """Number the steps from now on."""
        self._begun, self._total = 0, total

    def tick(self) -> None:
        """Tell the step under way, if it is time."""
        step, now = self._step, self._clock()
        is_new = step is not self._told
        if not step.text or now - self._told_at < (PAUSE if is_new else REPEAT):
            return
        since = "" if is_new else f", for {now - step.since:.0f} s"
        self._told, self._told_at = step, now
        self._write(f"[{now - self._begin:.0f} s] {step.text}{since}")


@dataclass(frozen=True, eq=False)
class _Step:
    """What a step is called, and when it began."""

    text: str
    since: float


class ProgressBar:
    """A bar on a terminal, which pulses until the number of steps is known."""

    def __init__(self, bar: Progress, total: int | None) -> None:
        self._bar, self._task = bar, bar.add_task("", total=total)
        self._begun = 0

    def __call__(self, name: str) -> None:
        """Begin a step."""
        self._bar.update(self._task, completed=self._begun, description=name)
        self._begun += 1

    def expect(self, total: int) -> None:
        """Count the steps from now on."""
        self._begun = 0
        self._bar.update(self._task, total=total, completed=0)


@contextmanager
def progress(total: int | None = None) -> Iterator[Steps]:
    """Show the steps of what the block does; `total` is their number, if it is known beforehand."""
    console = stderr()
    if console.is_terminal:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        columns = (
            SpinnerColumn(),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}", markup=False),
        )
        with Progress(*columns, console=console, transient=True) as bar:
            yield ProgressBar(bar, total)
        return
    with lines(console) as steps:
        if total is not None:
            steps.expect(total)
        yield steps


@contextmanager
def lines(console: Console) -> Iterator[ProgressLines]:
    """Yield ProgressLines that a thread keeps going."""
    steps = ProgressLines(lambda line: console.print(line, soft_wrap=True))
    ended = threading.Event()

    def tick() -> None:
        while not ended.wait(PAUSE / 4):
            steps.tick()

    thread = threading.Thread(target=tick, daemon=True)
    thread.start()
    try:
        yield steps
    finally:
        ended.set()
        thread.join()


def stderr() -> Console:
    """Return the console of what isn't a result."""
    return PlainConsole(stderr=True)
