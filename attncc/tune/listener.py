"""Listeners: what is told while tuning runs, and who may end it early."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from attncc.tune.result import Result
    from attncc.tune.search import Progress
    from attncc.tune.subject import Job


class Listener:
    """Hears what tuning does. This one ignores all of it; others override what they want to know."""

    def on_step(self, job: Job, step: str) -> None:
        """Hear what begins, such as planning, a trial or a round of the finals."""

    def on_trial(self, job: Job, progress: Progress) -> None:
        """Hear what became of a trial."""

    def on_result(self, result: Result) -> None:
        """Hear the answer of a job, which is stored by then."""

    def is_cancelled(self) -> bool:
        """Return whether to end early, with what was found so far."""
        return False


#: Hears nothing.
SILENT = Listener()
