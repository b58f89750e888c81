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

    Attributes:
        fp32: Add, multiply and fused multiply-add.
        integer: Also compare, select, minimum, maximum, logic, shifts and conversions.
        special: exp2, log2 and reciprocal.
        shuffle: Exchanges between the lanes of a warp.
    """

    fp32: int
    integer: int
    special: int
    shuffle: int


@dataclass(frozen=True)
class Gpu:
    """A GPU at its boost clock. A multiprocessor is a compute unit on AMD.

    Attributes:
        backend: The vendor's backend in Triton, `cuda` or `hip`.
        arch: The architecture, `sm_90` or `gfx942`.
        warp_size: Threads of a warp.
        multiprocessors: Their number.
        clock: Hz.
        memory: Bytes.
        bandwidth: Bytes a second, to and from memory.
        l2: Bytes of the last cache.
        registers: 32-bit registers of a multiprocessor.
        registers_per_thread: The most that a thread may have.
        register_unit: A warp's registers come in multiples of it.
        shared: Bytes of shared memory of a multiprocessor.
        shared_per_block: The most that a block may have, in bytes.
        shared_reserved: Bytes of `shared` that the system takes for each block.
        warps: The most that a multiprocessor holds.
        blocks: The most that a multiprocessor holds.
        shared_bytes: Bytes a clock from shared memory, for a multiprocessor.
        schedulers: Parts of a multiprocessor over which warps are spread.
        issue: Instructions that all schedulers together start in a clock.
        vector_pipes: 3 where fp32, integer and special instructions have pipes of their own, 1 where they share one.
        sustained: The share of `tensor` that a large matrix product holds under the power limit.
        lanes: Results a clock, by kind of instruction.
        tensor: FLOP a second of dense matrix products with sums in float32, by input type.
        links: Bytes a second in one direction, by kind of link.
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
    """Seconds that a tensor library takes on a CPU for one unit of each kind of work, or numbers of such units.

    Attributes:
        products: FLOP of matrix products.
        scores: Exponentials and sums.
        converted: Elements of masks that are turned into what is added to scores.
        expanded: Elements of masks that are made from positions at each call.
        evaluated: Integer operations of predicates.
        gathered: Bytes of rows that are read through an index.
        scattered: Bytes of rows that are written through an index.
        apart: Bytes of rows that are read and don't lie side by side.
        stored: Bytes of rows that are written where nothing was.
        merged: Bytes of rows that are merged with those that are there.
        spilled: Bytes of rows that are written while a call's results outgrow the caches.
        calls: Chunks of items, a few library calls each.
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
    """What a tensor library costs on a CPU.

    Attributes:
        cache: Bytes of a call's results that caches hold.
        forward: Costs of a forward.
        backward: Costs of a backward.
    """

    cache: float
    forward: Costs
    backward: Costs


@dataclass(frozen=True)
class Target:
    """What the cost model knows of a device. Rates are per second for the whole device, times in seconds.

    Attributes:
        name: What commands and configurations call it.
        title: What people call it.
        flops: FLOP a second of dense attention on long runs; a multiply-add counts as two.
        bandwidth: Bytes a second to and from memory.
        elements: Scores a second for which a predicate is evaluated.
        masked: Factor on the time of a tile that needs a mask.
        launch: Fixed time of a pass.
        reread: Seconds for a byte of keys and values that each tile of queries reads again; 0 where kernels choose
            their own tiles.
        kept: Scores of a pass up to which its mask is kept between calls.
        device: The device's name as its driver gives it.
        gpu: What else is known of a GPU, None for a CPU.
        library: What a tensor library costs on a CPU, None where it wasn't measured.
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
    costs = facts.get("library")
    library = costs and Library(costs["cache"], Costs(**costs["forward"]), Costs(**costs["backward"]))
    return Target(name=name, title=facts["title"], device=facts.get("device", ""), gpu=gpu, library=library, **rates)


def _derived(gpu: Gpu) -> dict[str, float]:
    lanes = gpu.multiprocessors * gpu.clock * gpu.lanes.integer
    return {
        "bandwidth": gpu.bandwidth,
        "elements": lanes / PREDICATE_INSTRUCTIONS,
        "masked": MASKED,
        "launch": LAUNCH,
    }


def _gpu(facts: Mapping[str, Any]) -> Gpu:
    values = {each.name: facts[each.name] for each in fields(Gpu)}
    values["lanes"] = Lanes(**facts["lanes"])
    for table in ("tensor", "links"):
        values[table] = dict(facts[table])
    return Gpu(**values)
