"""The cells of the tables: one model each, trained once, its result a file, so that a run goes on where it ended."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
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
    """Return a model that has taken the steps of the first part; `show` is called after each step."""
    longest = replace(cell, context=application.contexts[-1])
    learner = Learner(_model(longest, application), application.pace, cell.seed)
    _learn(learner, application, longest.context, application.pace.first, show)
    return learner


def run(cell: Cell, application: Application, beginning: Learner, show: Show) -> dict[str, Any]:
    """Train one model on from its beginning, and judge it, also in shorter windows than those that it was made for."""
    model, pace = _model(cell, application), application.pace
    learner = beginning.continued(model)
    _learn(learner, application, cell.context, pace.second, show)
    found = _judged(model, application, cell.context)
    shorter = {}
    for context in (each for each in application.contexts if each < cell.context):
        cut = _model(replace(cell, context=context), application)
        cut.load_state_dict(model.state_dict())
        shorter[str(context)] = _judged(cut, application, context)
    return {
        **asdict(cell),
        "sizes": application.families[cell.family].sizes,
        "parameters": parameters(model),
        "shape": asdict(application.shape),
        "pace": asdict(pace),
        "training": [round(sum(part) / len(part), 4) for part in _parts(learner.bits)],
        "judged": found,
        "judged_with_less": shorter,
        "machine": {**machine(), **versions(["attncc", "torch"])},
    }


def save(cell: Cell, found: Mapping[str, Any], results: Path) -> None:
    """Write a result, whole or not at all."""
    storage.write(cell.path(results), f"{json.dumps(found, indent=1)}\n".encode())


def load(results: Path) -> list[dict[str, Any]]:
    """Return all results that there are."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(results.glob("*/*.json"))]


def _model(cell: Cell, application: Application) -> Model:
    family = application.families[cell.family]
    return made(application.shape, family, cell.context, application.places(cell.context), cell.seed)


def _learn(learner: Learner, application: Application, context: int, part: Part, show: Show) -> None:
    for _ in range(part.steps):
        tokens, targets = application.drawn(part.stretch, part.tokens // part.stretch, learner.draw)
        bits = learner.step((tokens.reshape(-1, context), targets.reshape(-1, context)))
        show(len(learner.bits), bits)


def _judged(model: Model, application: Application, context: int) -> dict[str, Any]:
    return {name: asdict(judged(model, held)) for name, held in application.held_out(context).items()}


def _parts(bits: list[float]) -> Iterator[list[float]]:
    yield from (bits[first : first + KEPT] for first in range(0, len(bits), KEPT))
