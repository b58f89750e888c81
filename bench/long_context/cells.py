"""The cells of the tables: one model each, trained once, its result a file, so that a run goes on where it ended."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from attncc._util import storage
from attncc._util.machine import machine, versions

from .applications import Application
from .model import Model, made, parameters
from .training import Learner, Part, judged

#: Called after each step with their number so far, and the bits of the last.
Show = Callable[[int, float], None]
RESULTS = Path(__file__).parent / "results"
#: Training bits are kept as means of so many steps.
KEPT = 20


@dataclass(frozen=True)
class Cell:
    """One model of an application: a family, a context and a seed."""

    application: str
    family: str
    context: int
    seed: int

    def __str__(self) -> str:
        return f"{self.application}, {self.family}, {self.context:,} tokens, seed {self.seed}"

    def path(self, results: Path) -> Path:
        """Return where its result is kept."""
        return results / self.application / f"{self.family}-{self.context}-{self.seed}.json"


def every(applications: Mapping[str, Application], seeds: int) -> Iterator[Cell]:
    """Yield the cells of all tables, those of the first seed first, and those that share a beginning together."""
    for seed in range(seeds):
        for name, application in applications.items():
            for family in application.families:
                yield from (Cell(name, family, context, seed) for context in application.contexts)


def begun(cell: Cell, application: Application, show: Show) -> Learner:
    """Return what has taken the steps that all contexts share; `show` is called after each step."""
    learner = Learner(_models(cell, application), application.pace, cell.seed)
    for part in application.pace.shared:
        _learn(learner, application, part, part.window, show)
    return learner


def run(cell: Cell, application: Application, beginning: Learner, show: Show) -> dict[str, Any]:
    """Train one model on from its beginning, and judge it, also in shorter windows than those that it was made for."""
    models, pace = _models(cell, application), application.pace
    learner = beginning.continued(models)
    _learn(learner, application, pace.last, cell.context, show)
    found = {
        context: {name: asdict(judged(model, held)) for name, held in application.held_out(context).items()}
        for context, model in models.items()
        if context <= cell.context
    }
    return {
        **asdict(cell),
        "sizes": application.families[cell.family].sizes,
        "parameters": parameters(models[cell.context]),
        "shape": asdict(application.shape),
        "pace": asdict(pace),
        "training": [round(sum(part) / len(part), 4) for part in _parts(learner.bits)],
        "judged": found.pop(cell.context),
        "judged_with_less": found,
        "machine": {**machine(), **versions(["attncc", "torch"])},
    }


def save(cell: Cell, found: Mapping[str, Any], results: Path) -> None:
    """Write a result, whole or not at all."""
    storage.write(cell.path(results), f"{json.dumps(found, indent=1)}\n".encode())


def load(results: Path) -> list[dict[str, Any]]:
    """Return all results that there are."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(results.glob("*/*.json"))]


def _models(cell: Cell, application: Application) -> dict[int, Model]:
    family = application.families[cell.family]
    return made(application.shape, family, application.contexts, application.places, cell.seed)


def _learn(learner: Learner, application: Application, part: Part, context: int, show: Show) -> None:
    """Take the steps of a part, its windows cut to a context."""
    for _ in range(part.steps):
        tokens, targets = application.drawn(part.window, part.tokens // part.window, learner.draw)
        bits = learner.step((tokens.reshape(-1, context), targets.reshape(-1, context)))
        show(len(learner.bits), bits)


def _parts(bits: list[float]) -> Iterator[list[float]]:
    yield from (bits[first : first + KEPT] for first in range(0, len(bits), KEPT))
