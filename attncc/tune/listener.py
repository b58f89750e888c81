"""Listeners: what is told while tuning runs, and who may end it early."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from attncc.tune.result import TaskResult
    from attncc.tune.search import Progress
    from attncc.tune.task import OnStep, TuningTask


class Listener:
    """Hears what tuning does. This one ignores all of it; others override what they want to know."""

    def on_step(self, task: TuningTask, step: str) -> None:
        """Hear what begins, such as planning, a trial or a round of the finals."""

    def on_trial(self, task: TuningTask, progress: Progress) -> None:
        """Hear what became of a trial."""

    def on_result(self, result: TaskResult) -> None:
        """Hear the answer of a task, which is stored by then."""

    def is_cancelled(self) -> bool:
        """Return whether to end early, with the best so far."""
        return False


class StepListener(Listener):
    """Hands the name of each step on, and nothing else."""

    def __init__(self, tell: OnStep) -> None:
        self._tell = tell

    def on_step(self, task: TuningTask, step: str) -> None:
        """Hand a step on."""
        self._tell(step)


#: Hears nothing.
SILENT = Listener()
