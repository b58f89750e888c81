"""Predicted throughput of a loop, from the time that its instructions keep each part of a multiprocessor busy.

docs/machine_code.md explains the model. A loop's demand on a part is its instructions over the part's published rate. A
warp uses the parts in turn. Warps that share a scheduler are identical jobs in a flow shop. Blocks are the customers of
a closed queueing network; its throughput follows by mean value analysis (Reiser and Lavenberg, "Mean-Value Analysis of
Closed Multichain Queuing Networks", Journal of the ACM 27(2), 1980). Between two passes a block waits for its own
results and for loads; the two constants of that were fitted to the forward kernels of bench/sweeps/blocks_h200.json.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from attncc.machine_code.instructions import Mix, OpKind
from attncc.machine_code.resources import Resources
from attncc.targets import Gpu

#: Effects that a prediction leaves out, as reports print them.
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
_INTEGER = (OpKind.MINMAX, OpKind.COMPARE, OpKind.SELECT, OpKind.INTEGER, OpKind.CONVERT)


@dataclass(frozen=True)
class TileDemand:
    """The work of one pass through a loop for a block."""

    flops: float  # useful FLOP
    bytes: float = 0.0  # from memory, that no cache holds
    dtype: str = "fp16"  # of the matrix products' inputs: fp16, bf16, tf32 or fp32


@dataclass(frozen=True)
class Throughput:
    """A predicted throughput, with `blocks` resident on each multiprocessor."""

    cycles: float  # clocks of a multiprocessor for one pass of a block
    demand: Mapping[str, float]  # clocks for which that keeps each part busy, `issue` and `memory` among them
    bound: str  # the busiest part
    blocks: int
    flops: float  # useful FLOP/s of the whole GPU at the clock that it sustains
    leaves_out: tuple[str, ...] = LEAVES_OUT


def predict(loop: Mix, resources: Resources, gpu: Gpu, tile: TileDemand, resident: int | None = None) -> Throughput:
    """Predict the throughput of a loop, with `resident` blocks on a multiprocessor: as many as fit, by default.

    Raises ConfigError if the kernel does not fit on the GPU.
    """
    resources.require(gpu, "The kernel")
    parts = _demand(loop, resources.warps, gpu, tile)
    clock = gpu.clock * gpu.sustained
    bounds = {
        "issue": loop.total * resources.warps / gpu.issue,
        "memory": tile.bytes * gpu.multiprocessors * clock / gpu.bandwidth,
    }
    blocks = resources.occupancy(gpu) if resident is None else resident
    stations = _in_step(_stations(parts, gpu), max(1, resources.warps // gpu.schedulers))
    cycles = max(_cycles(stations, blocks, _latency(loop, resources.warps), loop.lead), *bounds.values())
    demand = parts | bounds
    bound = max(demand, key=lambda part: demand[part])
    return Throughput(cycles, demand, bound, blocks, tile.flops * gpu.multiprocessors * clock / cycles)


def combined(parts: Iterable[tuple[float, float, Throughput]]) -> float:
    """Return the FLOP/s of several loops in a row: (passes, useful FLOP of a pass, prediction) of each."""
    listed = list(parts)
    seconds = sum(passes * flops / each.flops for passes, flops, each in listed)
    return sum(passes * flops for passes, flops, _ in listed) / seconds


def _demand(loop: Mix, warps: int, gpu: Gpu, tile: TileDemand) -> dict[str, float]:
    """Return the clocks for which one pass of a block keeps each part of a multiprocessor busy."""
    lanes, results = gpu.lanes, warps * gpu.warp_size
    flops = tile.flops if loop.tensor_flops is None else loop.tensor_flops * warps
    return {
        "tensor": flops / gpu.tensor_flops_per_clock(tile.dtype),
        "special": loop.count(OpKind.SPECIAL) * results / lanes.special,
        "fp32": loop.count(OpKind.FP32) * results / lanes.fp32,
        "integer": loop.count(*_INTEGER) * results / lanes.integer,
        "shuffle": loop.count(OpKind.SHUFFLE) * results / lanes.shuffle,
        "shared": loop.shared_bytes * warps / gpu.shared_bytes,
    }


def _stations(parts: Mapping[str, float], gpu: Gpu) -> list[float]:
    """Return the demands of the stations that a warp visits in turn."""
    vector = [parts["special"], parts["fp32"], parts["integer"]]
    return [
        max(parts["tensor"], parts["shared"]),
        *([sum(vector)] if gpu.vector_pipes == 1 else vector),
        parts["shuffle"],
    ]


def _in_step(stations: list[float], warps: int) -> list[float]:
    """Return the demands of a block, less the share that hides behind the busiest station of `warps` in step."""
    busiest = max(range(len(stations)), key=stations.__getitem__)
    return [each if at == busiest else each / warps for at, each in enumerate(stations)]


def _latency(loop: Mix, warps: int) -> float:
    """Return the clocks from the last load of a pass until all its data has come; 0 where the text shows no loads."""
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
