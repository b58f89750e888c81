"""Options: how a job is tuned, and how hard."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from numbers import Real
from pathlib import Path
from typing import Any

from attncc.errors import ConfigError, nearest


@dataclass(frozen=True)
class Effort:
    """How hard to look: trials of a direction, seconds in all, finalists beside the default, rounds of the finals."""

    trials: int
    seconds: float
    finalists: int
    rounds: int


#: Efforts from little to much.
LEVELS = ("quick", "full")
Efforts = Mapping[str, Effort]
#: By mode and level, for a backend on a device.
EFFORTS: Mapping[str, Efforts] = {
    "measured": {"quick": Effort(48, 75.0, 3, 7), "full": Effort(400, 1800.0, 5, 15)},
    "modelled": {"quick": Effort(24, 260.0, 1, 1), "full": Effort(200, 3600.0, 1, 1)},
}
MODES = tuple(EFFORTS)


@dataclass(frozen=True, kw_only=True)
class Manner:
    """What people say of how to tune.

    effort: one of LEVELS; budget (seconds), trials: in place of the effort's. workers: processes that compile, or GPUs
    of one kind that measure. seed: of the search and of the inputs. space: a TOML file that adds to the shipped search
    space. storage: the URL of a database that several hosts share. force: tune again what was tuned before. Raises
    ConfigError.
    """

    effort: str = LEVELS[0]
    budget: float | None = None
    trials: int | None = None
    workers: int = 2
    seed: int = 0
    space: Path | None = None
    storage: str | None = None
    force: bool = False

    def __post_init__(self) -> None:
        require("effort", self.effort, LEVELS)
        if self.budget is not None:
            _require_positive("budget", self.budget, Real, "a number of seconds")
        if self.trials is not None:
            _require_positive("trials", self.trials, int, "an integer")
        _require_positive("workers", self.workers, int, "an integer")

    def manner(self) -> dict[str, Any]:
        """Return these values by name, for another such object."""
        return {each.name: getattr(self, each.name) for each in fields(Manner)}


@dataclass(frozen=True, kw_only=True)
class Options(Manner):
    """How jobs are tuned. mode: `measured` or `modelled`; efforts: what the levels of `effort` are for it."""

    mode: str
    efforts: Efforts

    @property
    def allowance(self) -> Effort:
        """The effort with what was given in place of its own."""
        chosen = self.efforts[self.effort]
        return replace(chosen, trials=self.trials or chosen.trials, seconds=self.budget or chosen.seconds)


def _require_positive(name: str, value: Any, kind: type, what: str) -> None:
    """Raise ConfigError unless a value is a number of a kind, and more than 0."""
    is_number = isinstance(value, kind) and not isinstance(value, bool)
    if not is_number or not value > 0:
        raise ConfigError(
            f"{name} {value!r}.", rule=f"It is {what}, more than 0.", fix="Give a positive number, or leave it out."
        )


def require(name: str, value: str, known: Iterable[str]) -> None:
    """Raise ConfigError unless a value is a known one."""
    known = tuple(known)
    if value not in known:
        raise ConfigError(f"{name} {value!r}.", rule=f"It is one of {', '.join(known)}.", fix=nearest(value, known))
