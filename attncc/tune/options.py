"""Options: how a job is tuned, and how hard."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path


@dataclass(frozen=True)
class Effort:
    """How hard to look: trials and seconds of a direction, finalists beside the default, rounds of the finals."""

    trials: int
    seconds: float
    finalists: int
    rounds: int


#: By mode and name, from little to much.
EFFORTS = {
    "measured": {"quick": Effort(48, 60.0, 3, 7), "full": Effort(400, 900.0, 5, 15)},
    "modelled": {"quick": Effort(24, 130.0, 1, 1), "full": Effort(200, 1800.0, 1, 1)},
}


@dataclass(frozen=True)
class Options:
    """How a job is tuned.

    mode: `measured` or `modelled`; effort: a name in EFFORTS. budget, trials: in place of the effort's. space: a file
    that adds to the shipped space; storage: the URL of a database that several hosts share; force: tune again what is
    cached.
    """

    mode: str
    effort: str = "quick"
    budget: float | None = None
    trials: int | None = None
    workers: int = 2
    seed: int = 0
    space: Path | None = None
    storage: str | None = None
    force: bool = False

    @property
    def allowance(self) -> Effort:
        """The effort with what was given in place of its own."""
        chosen = EFFORTS[self.mode][self.effort]
        return replace(chosen, trials=self.trials or chosen.trials, seconds=self.budget or chosen.seconds)
