"""Choose the triton backend's default blocks for GPUs that may be absent; run from the repository's root:

    python bench/choose_blocks.py sm_90 --head-dim 64 --head-dim 128 --dtype fp16

prints the entries of attncc/backends/triton/defaults.toml; those of wide heads come from `--head-dim 576 --value-dim
512` with blocks to try, as in `--among 64,32,8`. For each kernel it looks for the blocks with the least
predicted time over six patterns, whose kernels take neither stack nor spills and stay within the target's limits. What
is compiled is kept in the kernel cache, so that an interrupted run resumes.

The prediction is that of attncc.machine_code.throughput for each loop, times the tiles that a pattern visits; patterns
count by their time for a connected pair. Before a kernel is compiled its time is bounded by what its products and its
reads take, and the candidate with the least bound is looked at first (branch and bound), so that most need not be
compiled in full. The pipeline's stages are given, not chosen: compare the printed times of two runs.
"""

from __future__ import annotations

import heapq
import itertools
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, astuple, dataclass, field
from functools import cache
from typing import Annotated

import typer
from compiled import patterns

import attncc
from attncc.backends.inputs import Inputs
from attncc.backends.triton import BACKEND, aot, demand
from attncc.backends.triton.aot import Variant
from attncc.backends.triton.config import Blocks
from attncc.backends.triton.launch import Launch
from attncc.backends.triton.model import refusal, tile_seconds
from attncc.backends.triton.signature import SIGNATURES
from attncc.machine_code.compiled import Compiled
from attncc.machine_code.source import Source
from attncc.planner.plan import Plan
from attncc.targets import Gpu, gpu
from attncc.tune.modelled import Compilers

LENGTH = 4096
#: Of a kernel, before it counts as one that the compiler can't do.
LIMIT_SECONDS = 120.0
#: How fp32 products are computed by default.
PRECISION = "ieee"
#: The share of a thread's registers that accumulators and scores may take, before anything is compiled.
SHARE = 0.7
#: Patterns whose kernels are the likeliest to spill, first.
ORDER = ("bigbird", "strided l=128", "fixed", "causal", "256-window", "document")


@dataclass(frozen=True)
class Task:
    """What blocks are chosen for."""

    arch: str
    kernel: str
    head_dim: int
    value_dim: int
    dtype: str

    @property
    def gpu(self) -> Gpu:
        return gpu(self.arch)

    @property
    def inputs(self) -> Inputs:
        return Inputs.given(1, 1, None, self.head_dim, self.value_dim, self.dtype)

    @property
    def sums(self) -> int:
        """Columns of the kernel's accumulators."""
        keys, values = self.head_dim, self.value_dim
        return {"forward": values, "query_gradient": keys, "key_gradient": keys + values}[self.kernel]


@dataclass(frozen=True)
class Case:
    """One launch of a pattern: its kernel, how many tiles its loops visit, and the weight of its seconds in the sum."""

    launch: Launch
    source: Source
    full: float
    partial: float
    weight: float


@dataclass(order=True)
class Candidate:
    """Blocks with the least time that they can have: of compiled cases the predicted one, of others the bound."""

    seconds: float
    number: int
    blocks: Blocks = field(compare=False)
    cases: list[Case] = field(compare=False)
    compiled: int = field(compare=False, default=0)


def candidates(task: Task, stages: int) -> Iterator[Blocks]:
    """Return the blocks to try: whose accumulators fit the registers, with at least half of a product's rows a warp."""
    for m, n, warps in itertools.product((32, 64, 128), (32, 64, 128), (4, 8)):
        rows, cols = (n, m) if task.kernel == "key_gradient" else (m, n)
        scores = 1 if task.kernel == "forward" else 2
        held = rows * (task.sums + scores * cols) / (warps * task.gpu.warp_size)
        if rows >= 8 * warps and 32 <= held <= SHARE * task.gpu.registers_per_thread:
            yield Blocks(m, n, warps, stages)


@cache
def plan(name: str, arch: str) -> Plan:
    return attncc.plan(patterns(LENGTH)[name], LENGTH, tile=BACKEND.tile, target=arch)


def cases(task: Task, blocks: Blocks, names: Sequence[str] = ORDER) -> Iterator[Case]:
    """Return the launches of the kernel over patterns."""
    for name in names:
        config = {f"{task.kernel}.{key}": value for key, value in asdict(blocks).items()}
        lowered = aot.lower(plan(name, task.arch), task.gpu, task.inputs, config=config)
        for launch in lowered.launches("forward" if task.kernel == "forward" else "backward"):
            if launch.spec.kernel == task.kernel:
                visited = (float(tiles.sum()) * launch.grid_heads for tiles in demand.visited(launch))
                variant = Variant.of(launch, task.dtype, lowered.lowering.config)
                yield Case(launch, variant.unnamed_source, *visited, 1 / lowered.plan.nnz)


def bound(task: Task, case: Case) -> float:
    """Return the least time of a case: its products', or its reads'."""
    tile, device = demand.of_tile(case.launch, task.dtype, PRECISION), task.gpu
    seconds = max(tile.flops / (device.tensor[tile.dtype] * device.sustained), tile.bytes / device.bandwidth)
    return case.weight * seconds * (case.full + case.partial)


def seconds(task: Task, case: Case, found: Compiled) -> float:
    """Return the predicted time of a case."""
    full, partial = tile_seconds(case.launch, task.gpu, task.dtype, PRECISION, found)
    return case.weight * (case.full * full + case.partial * partial)


def choose(task: Task, tried: Iterable[Blocks], names: Sequence[str], compilers: Compilers) -> Blocks | None:
    """Return the blocks with the least predicted time of those that fit, or None."""
    queue = []
    for number, blocks in enumerate(tried):
        listed = list(cases(task, blocks, names))
        queue.append(Candidate(sum(bound(task, case) for case in listed), number, blocks, listed))
    heapq.heapify(queue)
    while queue:
        best = queue[0]
        if best.compiled == len(best.cases):
            _note(task, best, f"chosen, {best.seconds:.3e} s")
            return best.blocks
        heapq.heappop(queue)
        case = best.cases[best.compiled]
        found = compilers.compile([case.source])[case.source]
        reason = found if isinstance(found, str) else refusal(found, task.gpu)
        if isinstance(found, str) or reason:
            _note(task, best, reason)
            continue
        best.seconds += seconds(task, case, found) - bound(task, case)
        best.compiled += 1
        heapq.heappush(queue, best)
    return None


def _note(task: Task, candidate: Candidate, text: str) -> None:
    print(f"{task} {candidate.blocks} after {candidate.compiled} kernels: {text}", file=sys.stderr, flush=True)


def main(
    arch: str,
    head_dim: Annotated[list[int], typer.Option()],
    value_dim: Annotated[int | None, typer.Option(help="The head size by default.")] = None,
    dtype: Annotated[str, typer.Option()] = "fp16",
    kernel: Annotated[list[str] | None, typer.Option()] = None,
    stages: Annotated[int, typer.Option()] = 2,
    among: Annotated[list[str] | None, typer.Option(help="block_m,block_n,num_warps; all by default.")] = None,
    pattern: Annotated[list[str] | None, typer.Option()] = None,
) -> None:
    """Print the chosen blocks of an architecture; with fewer stages where nothing fits."""
    named = [tuple(map(int, each.split(","))) for each in among or ()]
    with Compilers(gpu(arch), 1, LIMIT_SECONDS) as compilers:
        for size in head_dim:
            for name in kernel or [name for name, each in SIGNATURES.items() if each.products]:
                task = Task(arch, name, size, value_dim or size, dtype)
                found = None
                for number in range(stages, 0, -1):
                    tried = [Blocks(*each, number) for each in named] or candidates(task, number)
                    found = found or choose(task, tried, pattern or ORDER, compilers)
                shown = f"[{', '.join(map(str, astuple(found)[:4]))}]" if found else "none fits"
                print(f"{arch} {8 * task.inputs.itemsize} bits, {size}: {name} = {shown}", flush=True)


if __name__ == "__main__":
    typer.run(main)
