"""The cells of the tables: one model each, trained once, its result a file, so that a run goes on where it ended."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from attncc._util.machine import machine, versions

from .applications import Application
from .model import made, parameters
from .training import judged, trained

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
    """Yield the cells of all tables, those of the first seed first."""
    for seed in range(seeds):
        for name, application in applications.items():
            for context in application.contexts:
                yield from (Cell(name, family, context, seed) for family in application.families)


def run(cell: Cell, application: Application, show: Callable[[int, float], None]) -> dict[str, Any]:
    """Train and judge one model; `show(step, bits)` is called after each step."""
    pace = application.pace
    family = application.families[cell.family]
    model = made(application.shape, family, cell.context, application.places(cell.context), cell.seed)
    draw = torch.Generator().manual_seed(cell.seed)  # the same rows for every family
    rows = pace.tokens // cell.context
    bits = []
    for step, each in enumerate(trained(model, lambda _: application.drawn(cell.context, rows, draw), pace)):
        bits.append(each)
        show(step, each)
    found = {name: asdict(judged(model, held)) for name, held in application.held_out(cell.context).items()}
    return {
        **asdict(cell),
        "sizes": family.sizes,
        "parameters": parameters(model),
        "shape": asdict(application.shape),
        "pace": asdict(pace),
        "training": [round(sum(part) / len(part), 4) for part in _parts(bits)],
        "judged": found,
        "machine": {**machine(), **versions(["attncc", "torch"])},
    }


def save(cell: Cell, found: Mapping[str, Any], results: Path) -> None:
    """Write a result, whole or not at all."""
    path = cell.path(results)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    part.replace(path)


def load(results: Path) -> list[dict[str, Any]]:
    """Return all results that there are."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(results.glob("*/*.json"))]


def _parts(bits: list[float]) -> Iterator[list[float]]:
    yield from (bits[first : first + KEPT] for first in range(0, len(bits), KEPT))
