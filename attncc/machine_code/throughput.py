"""Predicted throughput of a loop: how long its instructions keep each part of a multiprocessor busy, and what overlaps.

Each kind of instruction is served by one part: matrix units, special-function units, fp32 lanes, integer lanes,
shuffles, shared memory. A loop's demand on a part is its instructions over the part's published rate. Four rules then
give the time, the last one with two constants that the forward kernels of bench/sweeps/blocks_h200.json were fitted to:

1. A warp uses the parts in turn, since each step of attention needs the result of the last one. Only loads of operands
   from shared memory run beside the matrix products that they feed, and take the longer time of the two.
2. Warps of a block that share a scheduler pass the parts one after the other, in step, because of the barrier in each
   pass: identical jobs in a flow shop. All but 1/W of the time in other parts hides behind the busiest part.
3. Blocks are independent of one another. They are the customers of a closed queueing network whose stations are the
   parts, and mean value analysis gives its throughput (Reiser and Lavenberg, "Mean-Value Analysis of Closed Multichain
   Queuing Networks", Journal of the ACM 27(2), 1980).
4. Between two passes a block waits: TURN clocks, and for the loads that the next pass begins with. Those take LATENCY
   clocks and what their bytes take at PORT, less the time of the passes that lie between them and the wait for them,
   which the code shows: none with two stages of Triton's pipeline, one with three.

The rate of instruction issue and the bandwidth of memory bound the result.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from attncc.machine_code.instructions import Kind, Mix
from attncc.machine_code.resources import Resources
from attncc.targets import Gpu

#: What a prediction does not contain, as reports print it.
LEAVES_OUT = (
    "latency: waits for results within a warp, and for memory, beyond a constant of each pass and of its loads",
    "bank conflicts of shared memory, contention in the L2 cache, misses of the instruction cache",
    "that Hopper's matrix units are slower with HMMA, for tiles of less than 64 rows, than with HGMMA",
    "what a block does before and after its loops, launches, and the last, partly filled wave of blocks",
    "branches within a loop: each of its instructions counts once",
)
#: Clocks from a load until it has come from the L2 cache, and bytes a clock that a multiprocessor gets from there.
LATENCY, PORT = 400.0, 64.0
#: Clocks of each pass in which a block waits for results of its own: of products, across lanes, at barriers.
TURN = 200.0
_INTEGER = (Kind.MINMAX, Kind.COMPARE, Kind.SELECT, Kind.INTEGER, Kind.CONVERT)


@dataclass(frozen=True)
class Work:
    """What one pass through a loop does for a block: useful FLOP, and bytes from memory that no cache holds.

    dtype: of the matrix products' inputs: fp16, bf16, tf32 or fp32.
    """

    flops: float
    bytes: float = 0.0
    dtype: str = "fp16"


@dataclass(frozen=True)
class Throughput:
    """A prediction. cycles: clocks of a multiprocessor for one pass of a block, with `blocks` of them resident.

    demand: clocks for which that keeps each part busy, `issue` and `memory` among them; bound: the busiest of them.
    flops: useful FLOP/s of the whole GPU at the clock that it sustains.
    """

    cycles: float
    demand: Mapping[str, float]
    bound: str
    blocks: int
    flops: float
    leaves_out: tuple[str, ...] = LEAVES_OUT


def predict(loop: Mix, resources: Resources, gpu: Gpu, work: Work, resident: int | None = None) -> Throughput:
    """Predict the throughput of a loop, with `resident` blocks on a multiprocessor: as many as fit, by default.

    Raises ConfigError if the kernel does not fit on the GPU.
    """
    resources.require(gpu, "The kernel")
    parts = _demand(loop, resources.warps, gpu, work)
    clock = gpu.clock * gpu.sustained
    bounds = {
        "issue": loop.total * resources.warps / gpu.issue,
        "memory": work.bytes * gpu.multiprocessors * clock / gpu.bandwidth,
    }
    blocks = resources.occupancy(gpu) if resident is None else resident
    stations = _in_step(_stations(parts, gpu), max(1, resources.warps // gpu.schedulers))
    cycles = max(_cycles(stations, blocks, _latency(loop, resources.warps), loop.lead), *bounds.values())
    demand = parts | bounds
    bound = max(demand, key=lambda part: demand[part])
    return Throughput(cycles, demand, bound, blocks, work.flops * gpu.multiprocessors * clock / cycles)


def combined(parts: Iterable[tuple[float, float, Throughput]]) -> float:
    """Return the FLOP/s of several loops in a row: (passes, useful FLOP of a pass, prediction) of each."""
    found = list(parts)
    seconds = sum(passes * flops / each.flops for passes, flops, each in found)
    return sum(passes * flops for passes, flops, _ in found) / seconds


def _demand(loop: Mix, warps: int, gpu: Gpu, work: Work) -> dict[str, float]:
    """Clocks for which one pass of a block keeps each part of a multiprocessor busy."""
    lanes, results = gpu.lanes, warps * gpu.warp_size
    flops = work.flops if loop.tensor_flops is None else loop.tensor_flops * warps
    return {
        "tensor": flops / gpu.tensor_flops_per_clock(work.dtype),
        "special": loop.count(Kind.SPECIAL) * results / lanes.special,
        "fp32": loop.count(Kind.FP32) * results / lanes.fp32,
        "integer": loop.count(*_INTEGER) * results / lanes.integer,
        "shuffle": loop.count(Kind.SHUFFLE) * results / lanes.shuffle,
        "shared": loop.shared_bytes * warps / gpu.shared_bytes,
    }


def _stations(parts: Mapping[str, float], gpu: Gpu) -> list[float]:
    """Demands of the stations that a warp visits in turn."""
    vector = [parts["special"], parts["fp32"], parts["integer"]]
    return [
        max(parts["tensor"], parts["shared"]),
        *([sum(vector)] if gpu.vector_pipes == 1 else vector),
        parts["shuffle"],
    ]


def _in_step(stations: list[float], warps: int) -> list[float]:
    """Demands of a block with `warps` on each scheduler, with what hides behind the busiest station taken off."""
    busiest = max(range(len(stations)), key=stations.__getitem__)
    return [each if at == busiest else each / warps for at, each in enumerate(stations)]


def _latency(loop: Mix, warps: int) -> float:
    """Clocks from the last load of a pass until all that it loads has come; 0 where the text shows no loads."""
    return LATENCY + loop.loaded_bytes * warps / PORT if loop.loaded_bytes else 0.0


def _cycles(stations: list[float], blocks: int, latency: float, lead: float) -> float:
    """Return the clocks of a pass of one of `blocks`; each waits for the share of the latency that its lead leaves.

    The lead is in passes, so that the wait depends on the time of a pass, which depends on the wait: by bisection.
    """
    short, long = 0.0 if lead else latency, latency
    while long - short > 1.0:
        wait = (short + long) / 2
        left = latency - lead * blocks / _mean_value_analysis(stations, blocks, TURN + wait)
        short, long = (wait, long) if left > wait else (short, wait)
    return 1 / _mean_value_analysis(stations, blocks, TURN + short)


def _mean_value_analysis(stations: list[float], customers: int, wait: float) -> float:
    """Return how many passes a clock `customers` complete that take turns at stations with these demands, then wait."""
    queue = [0.0] * len(stations)
    throughput = 0.0
    for number in range(1, customers + 1):
        stay = [each * (1 + waiting) for each, waiting in zip(stations, queue, strict=True)]
        throughput = number / (wait + sum(stay))
        queue = [throughput * each for each in stay]
    return throughput
