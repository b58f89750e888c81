"""Predicted time of a direction on a GPU that need not be there: from sizes alone, or from its compiled kernels.

A program takes the time of its tiles, at the pace of a multiprocessor that holds as many programs as fit. The grid
takes the time of its longest multiprocessor (`makespan`), or of its traffic with memory, if that is longer. Of the
shorter of the two, all but the share of one of the programs that a multiprocessor holds hides behind the longer.
`roofline` paces tiles by the arithmetic that they ask for. `modelled` paces them by the instructions of the compiled
loops; see attncc.machine_code.throughput.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from attncc.backends.triton import demand
from attncc.backends.triton.aot import Variant
from attncc.backends.triton.launch import Launch
from attncc.backends.triton.lowered_plan import LoweredPlan
from attncc.ir.tables import Array
from attncc.machine_code.compiled import Compiled
from attncc.machine_code.source import Source
from attncc.machine_code.throughput import Throughput, TileDemand, predict
from attncc.targets import Gpu
from attncc.targets.facts import LAUNCH, MASKED

#: How far a modelled time may be off: the bar of bench/test_machine_code.py, which holds the model of dense and causal
#: attention against published figures for three GPUs. Nothing was published for sparse patterns to compare with.
EXPECTED_ERROR = 0.25
#: Clocks from a program's start to its first product: its item, its run and its rows are read one after another, each
#: some 300 clocks away. The work of other programs meanwhile isn't counted.
START_CLOCKS = 1000
#: Programs at the end of a grid that are followed one by one; before them all slots are taken as equally busy.
_FOLLOWED = 4096


@dataclass(frozen=True)
class LaunchEstimate:
    """One launch as modelled; bytes and counts are those of Resources."""

    name: str  # the kernel's
    registers: int
    stack: int
    spills: int
    shared: int
    warps: int
    blocks: int  # as many as fit on a multiprocessor
    flops: float  # useful FLOP/s, 0 for kernels without products
    bound: str  # the busiest part, of `tensor`, `special`, `memory`, ...
    seconds: float  # infinite if the kernel can't run


@dataclass(frozen=True)
class DirectionEstimate:
    """A direction as modelled."""

    seconds: float  # of all launches; infinite if a kernel can't run; a stack or spills only make it longer
    kernels: tuple[LaunchEstimate, ...]  # in launch order
    excess: str  # why the direction is out of the question, or ""


@dataclass(frozen=True)
class _Pace:
    """Seconds that a full and a partial tile take a program, with `resident` of them on a multiprocessor."""

    full: float
    partial: float
    resident: int
    tile: TileDemand
    bound: str


def sources(lowered: LoweredPlan, dtype: str, direction: str) -> list[Source]:
    """Return the sources of a direction's kernels, each once; they lie in the kernel cache."""
    return list(dict.fromkeys(_source(launch, lowered, dtype) for launch in lowered.launches(direction)))


def roofline(lowered: LoweredPlan, direction: str, gpu: Gpu, dtype: str) -> float:
    """Return the seconds that a direction should take by its sizes; it compiles nothing, and suits a ranking only."""
    precision = lowered.lowering.config.precision
    launches = lowered.launches(direction)
    return sum(_timed(launch, gpu, _expected(launch, gpu, dtype, precision))[0] for launch in launches)


def modelled(
    lowered: LoweredPlan, direction: str, gpu: Gpu, dtype: str, compiled: Mapping[Source, Compiled]
) -> DirectionEstimate:
    """Return how long a direction's compiled kernels take: `compiled` has all of `sources`."""
    kernels, reasons = [], []
    for launch in lowered.launches(direction):
        code = compiled[_source(launch, lowered, dtype)]
        reason = refusal(code, gpu, has_tiles=launch.spec.visits_tiles)
        if reason:
            reasons.append(f"{launch.spec.kernel}: {reason}")
        kernels.append(_estimate(launch, gpu, dtype, lowered.lowering.config.precision, code))
    seconds = sum(kernel.seconds for kernel in kernels)
    return DirectionEstimate(seconds, tuple(kernels), "; ".join(dict.fromkeys(reasons)))


def refusal(compiled: Compiled, gpu: Gpu, *, has_tiles: bool = True) -> str:
    """Return why a compiled kernel is out of the question: it spills, passes a limit, or hides its loops."""
    taken = compiled.resources
    if taken.stack or taken.spills:
        return f"{taken.stack} bytes of stack, {taken.spills} spills"
    if has_tiles and compiled.mixes is None:
        return "no loop was found"
    return taken.excess(gpu)


def tile_seconds(launch: Launch, gpu: Gpu, dtype: str, precision: str, compiled: Compiled) -> tuple[float, float]:
    """Return the seconds that the whole GPU takes for a full and for a partial tile, busy with nothing else."""
    pace = _compiled_pace(launch, gpu, dtype, precision, compiled, compiled.resources.occupancy(gpu))
    slots = pace.resident * gpu.multiprocessors
    return pace.full / slots, pace.partial / slots


def makespan(seconds: Array, heads: int, slots: int) -> float:
    """Return when a grid's last program ends; the slot that is done first takes the next program in launch order.

    Args:
        seconds: Of the programs of each head, (count,), in launch order.
        heads: Heads that the grid counts.
        slots: Programs that run at a time.
    """
    count = len(seconds)
    if not count or not heads:
        return 0.0
    followed = min(count * heads, max(_FOLLOWED, 5 * slots))
    last = np.tile(seconds, -(-followed // count))[-followed:]
    before = float(seconds.sum()) * heads - float(last.sum())
    begin = 0.0 if followed == count * heads else max(before, 0.0) / slots
    free = [begin] * slots
    for duration in last.tolist():
        heapq.heapreplace(free, free[0] + duration)
    return max(*free, float(seconds.max()))


def _source(launch: Launch, lowered: LoweredPlan, dtype: str) -> Source:
    return Variant.of(launch, dtype, lowered.lowering.config).unnamed_source


def _estimate(launch: Launch, gpu: Gpu, dtype: str, precision: str, compiled: Compiled) -> LaunchEstimate:
    taken, has_tiles = compiled.resources, launch.spec.visits_tiles
    blocks = taken.occupancy(gpu)
    seconds, flops, bound = math.inf, 0.0, ""
    if not taken.excess(gpu) and not (has_tiles and compiled.mixes is None):
        resident = _resident(launch, gpu, blocks)
        pace = _compiled_pace(launch, gpu, dtype, precision, compiled, resident) if has_tiles else None
        seconds, flops, bound = _timed(launch, gpu, pace)
    counts = (taken.registers, taken.stack, taken.spills, taken.shared, taken.warps, blocks)
    return LaunchEstimate(launch.spec.kernel, *counts, flops, bound, seconds)


def _resident(launch: Launch, gpu: Gpu, blocks: int) -> int:
    """Return how many programs a multiprocessor holds: as many as fit, unless the grid has fewer."""
    return max(1, min(blocks, -(-launch.programs // gpu.multiprocessors)))


def _compiled_pace(launch: Launch, gpu: Gpu, dtype: str, precision: str, compiled: Compiled, resident: int) -> _Pace:
    tile = demand.of_tile(launch, dtype, precision)
    loops = compiled.mixes
    assert loops is not None
    full, partial = (predict(mix, compiled.resources, gpu, tile, resident) for mix in loops)
    return _Pace(_of_program(full, gpu), _of_program(partial, gpu), resident, tile, full.bound)


def _expected(launch: Launch, gpu: Gpu, dtype: str, precision: str) -> _Pace | None:
    """Return the pace that a kernel's arithmetic allows; resources beyond the limits cost time in proportion."""
    if not launch.spec.visits_tiles:
        return None
    tile = demand.of_tile(launch, dtype, precision)
    mix, wanted = demand.expected(launch, gpu)
    unit = gpu.register_unit // gpu.warp_size
    registers = min(gpu.registers_per_thread, gpu.registers // (wanted.warps * gpu.warp_size)) // unit * unit
    beyond = max(1.0, wanted.registers / registers) * max(1.0, wanted.shared / gpu.shared_per_block)
    taken = replace(wanted, registers=min(wanted.registers, registers), shared=min(wanted.shared, gpu.shared_per_block))
    resident = _resident(launch, gpu, taken.occupancy(gpu))
    predicted = predict(mix, taken, gpu, tile, resident)
    full = _of_program(predicted, gpu) * beyond
    return _Pace(full, full * MASKED, resident, tile, predicted.bound)


def _of_program(predicted: Throughput, gpu: Gpu) -> float:
    """Return the seconds that a tile takes one of the programs that share a multiprocessor."""
    return predicted.cycles * predicted.blocks / (gpu.clock * gpu.sustained)


def _timed(launch: Launch, gpu: Gpu, pace: _Pace | None) -> tuple[float, float, str]:
    """Return a launch's seconds, its useful FLOP/s, and the part that bounds it."""
    if pace is None:
        return LAUNCH + demand.row_bytes(launch) / gpu.bandwidth, 0.0, "memory"
    full, partial = demand.visited(launch)
    start = START_CLOCKS / (gpu.clock * gpu.sustained)
    slots = pace.resident * gpu.multiprocessors
    computing = makespan(full * pace.full + partial * pace.partial + start, launch.grid_heads, slots)
    visits = float(full.sum() + partial.sum()) * launch.grid_heads
    moving = _traffic(launch, gpu, visits, slots) / gpu.bandwidth
    seconds = LAUNCH + max(computing, moving) + min(computing, moving) / pace.resident
    return seconds, visits * pace.tile.flops / seconds, "memory" if moving > computing else pace.bound


def _traffic(launch: Launch, gpu: Gpu, visits: float, slots: int) -> float:
    """Return the bytes that a launch moves to and from memory.

    A tile of the other axis comes from memory once if L2 holds all those of the heads at work. Of a larger set, the
    part that L2 doesn't hold comes again at each visit.
    """
    of_tile, of_head = demand.read(launch), demand.distinct_read(launch)
    sharing = 1 if launch.spec.by_kv_head else launch.shape.group_size
    once = of_head * launch.grid_heads / sharing
    at_work = of_head * min(launch.grid_heads, 1 + slots / launch.count) / sharing
    missing = max(0.0, 1 - gpu.l2 / at_work) if at_work else 0.0
    return once + max(0.0, visits * of_tile - once) * missing + demand.row_bytes(launch)
