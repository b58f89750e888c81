"""Compare the model of absent GPUs with measurements on an H200; run from the repository's root:

    python bench/model_against_measured.py --kernel forward

For the candidates of bench/sweeps/blocks_h200.json, of every kernel and head size: Spearman's rank correlation of the
modelled and the measured time over both patterns (geometric mean), and how far the one is off the other. What is
compiled is kept in the kernel cache; the first run takes a second or more a kernel.
"""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from measure_blocks import HEADS, LENGTH, PATTERNS

import attncc
from attncc.backends.inputs import Inputs
from attncc.backends.triton import BACKEND, aot, model
from attncc.backends.triton.config import DIRECTIONS, KERNELS
from attncc.backends.triton.lowered_plan import LoweredPlan
from attncc.machine_code.compiler import compile_all
from attncc.targets import gpu

MEASURED = Path(__file__).with_name("sweeps") / "blocks_h200.json"
GPU, DTYPE = gpu("h200"), "bf16"


@dataclass(frozen=True)
class Candidate:
    """Blocks of one kernel as timed, with all others at their default: milliseconds of its direction by pattern."""

    kernel: str
    head_dim: int
    blocks: tuple[int, ...]
    ms: tuple[tuple[str, float], ...]

    @property
    def direction(self) -> str:
        return DIRECTIONS[self.kernel]

    def lowered(self, pattern: str, defaults: dict[str, object]) -> LoweredPlan:
        plan = attncc.plan(PATTERNS[pattern], LENGTH, tile=BACKEND.tile, target="h200")
        config = {**defaults, **_config(self.kernel, self.blocks)}
        return aot.lower(plan, GPU, Inputs.given(1, HEADS, None, self.head_dim, None, DTYPE), config=config)


def _config(kernel: str, blocks: tuple[int, ...]) -> dict[str, object]:
    names = ("block_m", "block_n", "num_warps", "num_stages")
    return {f"{kernel}.{name}": value for name, value in zip(names, blocks, strict=True)}


def candidates(path: Path = MEASURED) -> list[Candidate]:
    """Return what was timed; the first of each kernel and head size is what was then its default."""
    rows = json.loads(path.read_text())["measured"]
    return [
        Candidate(row["kernel"], row["head_dim"], tuple(row["blocks"]), tuple(row["ms"].items()))
        for row in rows
        if "ms" in row
    ]


def spearman(*figures: list[float]) -> float:
    """Return the rank correlation of two lists without ties."""
    ranks = [np.argsort(np.argsort(each, kind="stable"), kind="stable") for each in figures]
    return float(np.corrcoef(*ranks)[0, 1])


def main(
    kernel: Annotated[list[str], typer.Option()] = list(KERNELS),  # noqa: B006
    head_dim: Annotated[list[int], typer.Option()] = [64, 128],  # noqa: B006
    workers: int = 2,
    each: Annotated[bool, typer.Option(help="Print every candidate, too.")] = False,
) -> None:
    """Print the rank correlation of modelled and measured times, and how they differ."""
    timed = candidates()
    for name in kernel:
        for size in head_dim:
            listed = [found for found in timed if (found.kernel, found.head_dim) == (name, size)]
            _show(listed, _defaults(timed, size), workers, each=each)


def _defaults(timed: list[Candidate], head_dim: int) -> dict[str, object]:
    """Return the blocks that the other kernels had while one was timed."""
    first = {found.kernel: found for found in reversed(timed) if found.head_dim == head_dim}
    return {k: v for name, found in first.items() for k, v in _config(name, found.blocks).items()}


def _show(listed: list[Candidate], defaults: dict[str, object], workers: int, *, each: bool) -> None:
    programs = {(found, name): found.lowered(name, defaults) for found in listed for name, _ in found.ms}
    wanted = {
        source: None
        for (found, _), program in programs.items()
        for source in model.sources(program, DTYPE, found.direction)
    }
    compiled = dict(zip(wanted, compile_all(wanted, GPU, workers=workers), strict=True))
    modelled, measured = [], []
    for found in listed:
        pairs = [
            (1e3 * model.modelled(programs[found, name], found.direction, GPU, DTYPE, compiled).seconds, ms)
            for name, ms in found.ms
        ]
        ours, theirs = (statistics.geometric_mean(column) for column in zip(*pairs, strict=True))
        modelled.append(ours)
        measured.append(theirs)
        if each:
            shown = "  ".join(f"{name} {a:.3f} for {b:.3f}" for (name, _), (a, b) in zip(found.ms, pairs, strict=True))
            print(f"  {list(found.blocks)}: modelled {ours:.3f} ms for {theirs:.3f} ms measured;  {shown}")
    ratios = sorted(a / b for a, b in zip(modelled, measured, strict=True))
    what = f"{listed[0].kernel} D={listed[0].head_dim}, {len(listed)} candidates"
    spread = f"{ratios[0]:.2f} to {ratios[-1]:.2f}, median {statistics.median(ratios):.2f}"
    best = measured[int(np.argmin(modelled))] / min(measured)
    print(f"{what}: rank correlation {spearman(modelled, measured):.2f}; modelled over measured {spread};", end=" ")
    print(f"what the model likes best takes {best:.2f} x the time of the best", flush=True)


if __name__ == "__main__":
    typer.run(main)
