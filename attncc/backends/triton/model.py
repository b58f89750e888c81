"""Predicted time of a direction on a GPU that need not be there: from sizes alone, or from its compiled kernels.

Both go through the direction's launches. A program takes its tiles' time, at the pace of a multiprocessor that holds as
many programs as fit; the grid takes what its longest multiprocessor does (attncc.backends.triton.makespan), or what its
traffic with memory does, if that is longer. Of the shorter of the two, all but the share of one of the programs that a
multiprocessor holds hides behind the longer. `roofline` paces tiles by the arithmetic that they ask for, `modelled` by
the instructions of the compiled loops (attncc.machine_code.throughput).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from attncc.backends.triton import tile
from attncc.backends.triton.aot import unnamed_source
from attncc.backends.triton.makespan import makespan
from attncc.backends.triton.program import Program
from attncc.backends.triton.steps import Step, steps
from attncc.backends.triton.variants import variant_of
from attncc.machine_code.compiled import Compiled
from attncc.machine_code.source import Source
from attncc.machine_code.throughput import Throughput, Work, predict
from attncc.targets import Gpu
from attncc.targets.facts import LAUNCH, MASKED

#: How far a modelled time may be off: the bar of bench/test_machine_code.py, which holds the model of dense and causal
#: attention against published figures for three GPUs. Nothing was published for sparse patterns to compare with.
EXPECTED_ERROR = 0.25
#: Clocks from a program's start to its first product: its item, its run and its rows are read one after another, each
#: some 300 clocks away. What other programs of the multiprocessor do meanwhile isn't counted.
START_CLOCKS = 1000


@dataclass(frozen=True)
class Kernel:
    """One launch as modelled: what its kernel takes, and how long it runs.

    registers, stack (bytes), spills, shared (bytes), warps: see Resources. blocks: how many fit on a multiprocessor.
    flops: useful FLOP/s, 0 for kernels without products. bound: the busiest part, of `tensor`, `special`, `memory`, ...
    """

    name: str
    registers: int
    stack: int
    spills: int
    shared: int
    warps: int
    blocks: int
    flops: float
    bound: str
    seconds: float


@dataclass(frozen=True)
class Modelled:
    """A direction as modelled: seconds in all, its launches in order, and why it is out of the question, if it is.

    Seconds are infinite if a kernel can't run. One with a stack or spills is priced by its instructions, but `excess`
    names it, too.
    """

    seconds: float
    kernels: tuple[Kernel, ...]
    excess: str


@dataclass(frozen=True)
class _Pace:
    """Seconds that a full and a partial tile take a program, with `resident` of them on a multiprocessor."""

    full: float
    partial: float
    resident: int
    work: Work
    bound: str


def sources(program: Program, dtype: str, direction: str) -> list[Source]:
    """Return what a direction's kernels are compiled from, each once; they lie in the kernel cache."""
    return list(dict.fromkeys(_source(step, program, dtype) for step in steps(program, direction)))


def roofline(program: Program, direction: str, gpu: Gpu, dtype: str) -> float:
    """Return the seconds that a direction should take by its sizes; it compiles nothing, and suits a ranking only."""
    precision = program.lowering.config.precision
    return sum(_timed(step, gpu, _expected(step, gpu, dtype, precision))[0] for step in steps(program, direction))


def modelled(program: Program, direction: str, gpu: Gpu, dtype: str, compiled: Mapping[Source, Compiled]) -> Modelled:
    """Return how a direction runs by its compiled kernels: `compiled` has all of `sources`."""
    kernels, reasons = [], []
    for step in steps(program, direction):
        found = compiled[_source(step, program, dtype)]
        reason = refusal(found, gpu, has_tiles=step.has_tiles)
        if reason:
            reasons.append(f"{step.launch.spec.kernel}: {reason}")
        kernels.append(_kernel(step, gpu, dtype, program.lowering.config.precision, found))
    return Modelled(sum(kernel.seconds for kernel in kernels), tuple(kernels), "; ".join(dict.fromkeys(reasons)))


def refusal(compiled: Compiled, gpu: Gpu, *, has_tiles: bool = True) -> str:
    """Return why a compiled kernel is out of the question: it spills, passes a limit, or hides its loops."""
    taken = compiled.resources
    if taken.stack or taken.spills:
        return f"{taken.stack} bytes of stack, {taken.spills} spills"
    if has_tiles and compiled.mixes is None:
        return "no loop was found"
    return taken.excess(gpu)


def tile_seconds(step: Step, gpu: Gpu, dtype: str, precision: str, compiled: Compiled) -> tuple[float, float]:
    """Return the seconds that the whole GPU takes for a full and for a partial tile, busy with nothing else."""
    pace = _compiled_pace(step, gpu, dtype, precision, compiled, compiled.resources.occupancy(gpu))
    slots = pace.resident * gpu.multiprocessors
    return pace.full / slots, pace.partial / slots


def _source(step: Step, program: Program, dtype: str) -> Source:
    return unnamed_source(variant_of(step.launch, step.side, dtype, program.lowering.config))


def _kernel(step: Step, gpu: Gpu, dtype: str, precision: str, compiled: Compiled) -> Kernel:
    taken = compiled.resources
    blocks = taken.occupancy(gpu)
    seconds, flops, bound = math.inf, 0.0, ""
    if not taken.excess(gpu) and not (step.has_tiles and compiled.mixes is None):
        resident = _resident(step, gpu, blocks)
        pace = _compiled_pace(step, gpu, dtype, precision, compiled, resident) if step.has_tiles else None
        seconds, flops, bound = _timed(step, gpu, pace)
    counts = (taken.registers, taken.stack, taken.spills, taken.shared, taken.warps, blocks)
    return Kernel(step.launch.spec.kernel, *counts, flops, bound, seconds)


def _resident(step: Step, gpu: Gpu, blocks: int) -> int:
    """Return how many programs a multiprocessor holds: what fits, unless the grid has fewer."""
    return max(1, min(blocks, -(-step.programs // gpu.multiprocessors)))


def _compiled_pace(step: Step, gpu: Gpu, dtype: str, precision: str, compiled: Compiled, resident: int) -> _Pace:
    work = tile.work(step, dtype, precision)
    loops = compiled.mixes
    assert loops is not None
    full, partial = (predict(mix, compiled.resources, gpu, work, resident) for mix in loops)
    return _Pace(_of_program(full, gpu), _of_program(partial, gpu), resident, work, full.bound)


def _expected(step: Step, gpu: Gpu, dtype: str, precision: str) -> _Pace | None:
    """Return the pace that a kernel's arithmetic allows; what it holds beyond the limits costs time in proportion."""
    if not step.has_tiles:
        return None
    work = tile.work(step, dtype, precision)
    mix, wanted = tile.expected(step, gpu)
    unit = gpu.register_unit // gpu.warp_size
    registers = min(gpu.registers_per_thread, gpu.registers // (wanted.warps * gpu.warp_size)) // unit * unit
    beyond = max(1.0, wanted.registers / registers) * max(1.0, wanted.shared / gpu.shared_per_block)
    taken = replace(wanted, registers=min(wanted.registers, registers), shared=min(wanted.shared, gpu.shared_per_block))
    resident = _resident(step, gpu, taken.occupancy(gpu))
    found = predict(mix, taken, gpu, work, resident)
    full = _of_program(found, gpu) * beyond
    return _Pace(full, full * MASKED, resident, work, found.bound)


def _of_program(found: Throughput, gpu: Gpu) -> float:
    """Return the seconds that a pass takes one of the programs that share a multiprocessor."""
    return found.cycles * found.blocks / (gpu.clock * gpu.sustained)


def _timed(step: Step, gpu: Gpu, pace: _Pace | None) -> tuple[float, float, str]:
    """Return a launch's seconds, its useful FLOP/s and what bounds it."""
    if pace is None:
        return LAUNCH + tile.row_bytes(step) / gpu.bandwidth, 0.0, "memory"
    full, partial = step.visited()
    start = START_CLOCKS / (gpu.clock * gpu.sustained)
    slots = pace.resident * gpu.multiprocessors
    computing = makespan(full * pace.full + partial * pace.partial + start, step.members, slots)
    visits = float(full.sum() + partial.sum()) * step.members
    moving = _traffic(step, gpu, visits, slots) / gpu.bandwidth
    seconds = LAUNCH + max(computing, moving) + min(computing, moving) / pace.resident
    return seconds, visits * pace.work.flops / seconds, "memory" if moving > computing else pace.bound


def _traffic(step: Step, gpu: Gpu, visits: float, slots: int) -> float:
    """Return the bytes that a launch moves to and from memory.

    A tile of the other axis comes from memory once if L2 holds all those of the members at work; of a larger set, what
    L2 doesn't hold comes again at each visit.
    """
    spec, each = step.launch.spec, tile.read(step)
    shared = 1 if spec.packed or spec.kernel == "key_gradient" else step.launch.sizes.group
    of_member = step.distinct() * each * step.passes
    once = of_member * step.members / shared
    at_work = of_member * min(step.members, 1 + slots / step.launch.count) / shared
    missing = max(0.0, 1 - gpu.l2 / at_work) if at_work else 0.0
    return once + max(0.0, visits * each - once) * missing + tile.row_bytes(step)
