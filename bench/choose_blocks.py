"""Choose the triton backend's default blocks for GPUs that need not be there; run from the folder of the repository:

    python bench/choose_blocks.py sm_90 --head-dim 64 --head-dim 128 --dtype fp16

prints the entries of attncc/backends/triton/defaults.toml. For each kernel it looks for the blocks with the least
predicted time over six patterns, whose kernels take neither stack nor spills and stay within the target's limits. What
is compiled is kept in the kernel cache, so that a run that was broken off goes on.

The prediction is that of attncc.machine_code.throughput for each loop, times the tiles that a pattern visits; patterns
count by their time for a connected pair. Before a kernel is compiled its time is bounded by what its products and its
reads take, and the candidate with the least bound is looked at first (branch and bound), so that most need not be
compiled in full. The model leaves latency out, so the pipeline's stages are given, not chosen.
"""

from __future__ import annotations

import heapq
import itertools
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from functools import cache
from multiprocessing import get_context
from typing import Annotated

import numpy as np
import typer
from compiled import normal_source, patterns

import attncc
from attncc.backends.triton import BACKEND, aot
from attncc.backends.triton.config import Blocks
from attncc.backends.triton.launch import Launch
from attncc.backends.triton.variants import variant_of
from attncc.errors import AttnccError
from attncc.machine_code.compiler import compile
from attncc.machine_code.instructions import Mix
from attncc.machine_code.loops import full_and_partial, main_loops
from attncc.machine_code.resources import Resources
from attncc.machine_code.source import Source
from attncc.machine_code.throughput import Work, predict
from attncc.planner.plan import Plan
from attncc.targets import Gpu, gpu

LENGTH = 4096
#: Matrix products of a tile, by kernel.
PRODUCTS = {"forward": 2, "query_gradient": 3, "key_gradient": 4}
#: What the caches give over what memory gives: 2 to 5 on these GPUs.
CACHED = 3.0
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
    dtype: str

    @property
    def gpu(self) -> Gpu:
        return gpu(self.arch)

    @property
    def itemsize(self) -> int:
        return aot.DTYPES[self.dtype]


@dataclass(frozen=True)
class Case:
    """One launch of a pattern: its kernel, how many tiles its loops visit, and the weight of its seconds in the sum."""

    source: Source
    full: int
    partial: int
    weight: float


@dataclass(frozen=True)
class Measured:
    """What is read from a compiled kernel: mixes of the loops over full and over partial tiles, and resources."""

    full: Mix
    partial: Mix
    resources: Resources


@dataclass(order=True)
class Candidate:
    """Blocks with the least time that they can have: of compiled cases the predicted one, of others the bound."""

    seconds: float
    number: int
    blocks: Blocks = field(compare=False)
    cases: list[Case] = field(compare=False)
    compiled: int = field(compare=False, default=0)


@dataclass
class Compiler:
    """A process that compiles; another one follows if the compiler takes it down."""

    pool: ProcessPoolExecutor | None = None

    def measured(self, source: Source, arch: str) -> Measured | str:
        """Return what is read from a kernel, or why there is none."""
        self.pool = self.pool or ProcessPoolExecutor(1, get_context("spawn"))
        try:
            return self.pool.submit(_measured, source, arch).result()
        except BrokenProcessPool:
            self.pool = None
            return "the compiler crashed"


def _measured(source: Source, arch: str) -> Measured | str:
    try:
        compiled = compile(source, gpu(arch))
    except AttnccError as error:
        return str(error).partition("\n")[0]
    loops = sorted((loop.mix for loop in main_loops(compiled.instructions)), key=lambda mix: mix.predicate)
    if not loops:
        return "no loop was found"
    full, partial = full_and_partial(main_loops(compiled.instructions))
    return Measured(full.mix if full else loops[0], partial.mix if partial else loops[-1], compiled.resources)


def candidates(task: Task, stages: int) -> Iterator[Blocks]:
    """Return the blocks to try: whose accumulators fit the registers, with at least half of a product's rows a warp."""
    for m, n, warps in itertools.product((32, 64, 128), (32, 64, 128), (4, 8)):
        rows, cols = (n, m) if task.kernel == "key_gradient" else (m, n)
        sums = 2 if task.kernel == "key_gradient" else 1
        scores = 1 if task.kernel == "forward" else 2
        held = rows * (sums * task.head_dim + scores * cols) / (warps * task.gpu.warp_size)
        if rows >= 8 * warps and 32 <= held <= SHARE * task.gpu.registers_per_thread:
            yield Blocks(m, n, warps, stages)


@cache
def plan(name: str, arch: str) -> Plan:
    return attncc.plan(patterns(LENGTH)[name], LENGTH, tile=BACKEND.tile, target=arch)


def cases(task: Task, blocks: Blocks, names: Sequence[str] = ORDER) -> Iterator[Case]:
    """Return the launches of the kernel over patterns."""
    for name in names:
        config = {f"{task.kernel}.{key}": value for key, value in asdict(blocks).items()}
        program = aot.program(plan(name, task.arch), task.gpu, task.dtype, task.head_dim, config=config)
        side = getattr(program, task.kernel)
        for part in side.parts:
            for launch in filter(None, (part.work.whole, part.work.split)):
                variant = variant_of(launch, side, task.dtype, program.lowering.config)
                yield Case(normal_source(variant), *_tiles(launch), 1 / program.plan.nnz)


def _tiles(launch: Launch) -> tuple[int, int]:
    """Return how many full and how many partial tiles a launch visits."""
    items, runs = (np.asarray(launch.arrays[name]).astype(np.int64) for name in ("items", "runs"))
    before = np.concatenate([[0], np.cumsum(runs[:, 1] - runs[:, 0])])
    _, full, partial, end = items.T
    return int((before[partial] - before[full]).sum()), int((before[end] - before[partial]).sum())


def work(task: Task, source: Source) -> Work:
    """Return what one tile takes; each is read from a cache once."""
    of = dict(source.constants)
    m, n = int(of["BLOCK_M"]), int(of["BLOCK_N"])
    read = m if task.kernel == "key_gradient" else n
    dtype = "tf32" if task.dtype == "fp32" else task.dtype
    flops = 2.0 * PRODUCTS[task.kernel] * m * n * task.head_dim
    return Work(flops, 2 * read * task.head_dim * task.itemsize / CACHED, dtype)


def bound(task: Task, case: Case) -> float:
    """Return the least time of a case: its products', or its reads'."""
    tile, device = work(task, case.source), task.gpu
    seconds = max(tile.flops / (device.tensor[tile.dtype] * device.sustained), tile.bytes / device.bandwidth)
    return case.weight * seconds * (case.full + case.partial)


def seconds(task: Task, case: Case, found: Measured) -> float:
    """Return the predicted time of a case."""
    tile = work(task, case.source)
    of = [predict(mix, found.resources, task.gpu, tile).flops for mix in (found.full, found.partial)]
    return case.weight * tile.flops * (case.full / of[0] + case.partial / of[1])


def refused(task: Task, found: Measured | str) -> str:
    """Return why blocks are out of the question, or an empty string."""
    if isinstance(found, str):
        return found
    taken = found.resources
    spilt = f"{taken.stack} bytes of stack, {taken.spills} spills" if taken.stack or taken.spills else ""
    return spilt or taken.excess(task.gpu)


def choose(task: Task, tried: Iterable[Blocks], names: Sequence[str], compiler: Compiler) -> Blocks | None:
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
        found = compiler.measured(case.source, task.arch)
        if reason := refused(task, found):
            _note(task, best, reason)
            continue
        assert isinstance(found, Measured)
        best.seconds += seconds(task, case, found) - bound(task, case)
        best.compiled += 1
        heapq.heappush(queue, best)
    return None


def _note(task: Task, candidate: Candidate, text: str) -> None:
    print(f"{task} {candidate.blocks} after {candidate.compiled} kernels: {text}", file=sys.stderr, flush=True)


def main(
    arch: str,
    head_dim: Annotated[list[int], typer.Option()],
    dtype: Annotated[str, typer.Option()] = "fp16",
    kernel: Annotated[list[str] | None, typer.Option()] = None,
    stages: Annotated[int, typer.Option()] = 2,
    among: Annotated[list[str] | None, typer.Option(help="block_m,block_n,num_warps; all by default.")] = None,
    pattern: Annotated[list[str] | None, typer.Option()] = None,
) -> None:
    """Print the chosen blocks of an architecture; with fewer stages where nothing fits."""
    named = [tuple(map(int, each.split(","))) for each in among or ()]
    compiler = Compiler()
    for size in head_dim:
        for name in kernel or PRODUCTS:
            task = Task(arch, name, size, dtype)
            found = None
            for number in range(stages, 0, -1):
                tried = [Blocks(*each, number) for each in named] or candidates(task, number)
                found = found or choose(task, tried, pattern or ORDER, compiler)
            shown = f"[{', '.join(map(str, asdict(found).values()))}]" if found else "none fits"
            print(f"{arch} {8 * task.itemsize} bits, {size}: {name} = {shown}", flush=True)


if __name__ == "__main__":
    typer.run(main)
