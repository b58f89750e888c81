"""What is known of a device: the planner's rates, and for a GPU its limits and throughputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

#: Integer instructions of a predicate for one score: two comparisons of a band and a remainder by a constant.
PREDICATE_INSTRUCTIONS = 8
#: A tile with a mask over one without: instructions of the loops, 1.15 to 1.45 on sm_80 and sm_90 (docs/design.md).
MASKED = 1.3
#: Seconds from a launch to the first instruction, as CUDA and HIP kernels in one stream see it.
LAUNCH = 5e-6


@dataclass(frozen=True)
class Lanes:
    """Lanes of one multiprocessor: how many results of a kind it gives in a clock.

    fp32: add, multiply and fused multiply-add; integer: also compare, select, min/max, logic, shifts and conversions;
    special: exp2, log2, reciprocal; shuffle: exchanges between the lanes of a warp.
    """

    fp32: int
    integer: int
    special: int
    shuffle: int


@dataclass(frozen=True)
class Gpu:
    """A GPU. Sizes in bytes (memory) or 32-bit registers; rates per second, `clock` in Hz, both at boost clock.

    registers, shared, warps, blocks: of one multiprocessor (a compute unit, on AMD); register_unit: the registers of
    a warp come in multiples of it; shared_reserved: what the system takes of `shared` for each block.
    shared_bytes: bytes a clock that shared memory gives to a multiprocessor. schedulers: parts that warps are spread
    over; issue: instructions that all of them start in a clock; vector_pipes: 3 where fp32, integer and special
    instructions have pipes of their own, 1 where they share one.
    tensor: dense matrix products by input type, accumulated in float32, FLOP/s; sustained: the share of `tensor` that a
    large matrix product holds under the power limit. links: bytes a second in one direction.
    """

    backend: str
    arch: str
    warp_size: int
    multiprocessors: int
    clock: float
    memory: float
    bandwidth: float
    l2: float
    registers: int
    registers_per_thread: int
    register_unit: int
    shared: int
    shared_per_block: int
    shared_reserved: int
    warps: int
    blocks: int
    shared_bytes: int
    schedulers: int
    issue: int
    vector_pipes: int
    sustained: float
    lanes: Lanes
    tensor: Mapping[str, float]
    links: Mapping[str, float]

    @property
    def triton_arch(self) -> int | str:
        """The architecture as triton's GPUTarget wants it: 90 for sm_90, "gfx942" as it is."""
        return int(self.arch.removeprefix("sm_")) if self.backend == "cuda" else self.arch

    def tensor_flops_per_clock(self, dtype: str) -> float:
        """FLOP that the matrix units of one multiprocessor do in a clock."""
        return self.tensor[dtype] / (self.multiprocessors * self.clock)


@dataclass(frozen=True)
class Costs:
    """Seconds that a tensor library takes on a CPU, for one unit of each kind of work; or numbers of such units.

    products: FLOP of matrix products; scores: exponentials and sums; converted: elements of masks that
    are made into what is added to scores; expanded: those that are made of positions, at each call; evaluated: integer
    operations of their predicates. Bytes of rows that are read: gathered through an index, or `apart`, not
    side by side. Of rows that are written: stored, or merged with what is there, whatever the way; scattered through an
    index; `spilled`, where results of a call outgrow the caches. calls: chunks of items, a few library calls each.
    """

    products: float = 0.0
    scores: float = 0.0
    converted: float = 0.0
    expanded: float = 0.0
    evaluated: float = 0.0
    gathered: float = 0.0
    scattered: float = 0.0
    apart: float = 0.0
    stored: float = 0.0
    merged: float = 0.0
    spilled: float = 0.0
    calls: float = 0.0


@dataclass(frozen=True)
class Library:
    """What a tensor library costs on a CPU, by direction; cache: bytes of a call's results that caches hold."""

    cache: float
    forward: Costs
    backward: Costs


@dataclass(frozen=True)
class Target:
    """What the cost model knows of a device; rates are per second for the whole device, times in seconds.

    flops: multiply-adds count as two, dense attention on long runs; bandwidth: bytes moved to and from memory;
    elements: scores a second that a predicate is evaluated for; masked: factor on a tile that needs a mask;
    launch: fixed time of a pass. reread: seconds for a byte of keys and values that each tile of queries reads again, 0
    where kernels choose tiles of their own. kept: scores of a pass up to which its mask is kept between calls, so that
    its predicate isn't evaluated by each. gpu: the rest of what is known, None for a CPU. library: what a tensor
    library costs on a CPU, None where nobody measured it.
    """

    name: str
    title: str
    flops: float
    bandwidth: float
    elements: float
    masked: float
    launch: float
    reread: float = 0.0
    kept: float = 0.0
    device: str = ""
    gpu: Gpu | None = None
    library: Library | None = None


def parsed(name: str, facts: Mapping[str, Any]) -> Target:
    """Return the target of a TOML file; rates of the planner that a GPU's file doesn't state follow from the others."""
    gpu = _gpu(facts["gpu"]) if "gpu" in facts else None
    rates = (_derived(gpu) if gpu else {}) | dict(facts["planner"])
    library = _library(facts["library"]) if "library" in facts else None
    return Target(name=name, title=facts["title"], device=facts.get("device", ""), gpu=gpu, library=library, **rates)


def _derived(gpu: Gpu) -> dict[str, float]:
    lanes = gpu.multiprocessors * gpu.clock * gpu.lanes.integer
    return {
        "bandwidth": gpu.bandwidth,
        "elements": lanes / PREDICATE_INSTRUCTIONS,
        "masked": MASKED,
        "launch": LAUNCH,
    }


def _library(facts: Mapping[str, Any]) -> Library:
    return Library(facts["cache"], Costs(**facts["forward"]), Costs(**facts["backward"]))


def _gpu(facts: Mapping[str, Any]) -> Gpu:
    values = {each.name: facts[each.name] for each in fields(Gpu)}
    values["lanes"] = Lanes(**facts["lanes"])
    for table in ("tensor", "links"):
        values[table] = dict(facts[table])
    return Gpu(**values)
