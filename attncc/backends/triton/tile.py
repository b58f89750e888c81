"""What a tile and the rows around it take of a GPU: products, bytes, and the instructions that arithmetic asks for."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from attncc.backends.triton.launch import width
from attncc.backends.triton.spec import Spec
from attncc.backends.triton.steps import Step
from attncc.machine_code.instructions import Kind, Mix
from attncc.machine_code.resources import Resources
from attncc.machine_code.throughput import Work
from attncc.targets import Gpu

#: Kernels that visit tiles: products of a tile, in terms of the sizes of keys' and of values' heads.
PRODUCTS = {"forward": (1, 1), "query_gradient": (2, 1), "key_gradient": (2, 2)}
#: What the caches give over what memory gives: 2 to 5 on these GPUs.
CACHED = 3.0
#: Registers of a thread beside tiles: addresses, counters, statistics of rows.
_OTHER_REGISTERS = 60
#: Instructions of a warp beside those on scores and sums: addresses, loads, barriers, products.
_OTHER_INSTRUCTIONS = 100
#: Rows of a warp's matrix product.
_ROWS_OF_WARP = 16


def flops(spec: Spec, constants: Mapping[str, object]) -> float:
    """Return the useful FLOP of one tile."""
    keys, values = PRODUCTS[spec.kernel]
    of = {name: int(value) for name, value in constants.items() if isinstance(value, int)}
    depth = (keys + spec.atomic) * of["HEAD_DIM"] + values * of["VALUE_DIM"]
    return 2.0 * of["BLOCK_M"] * of["BLOCK_N"] * depth


def product_dtype(constants: Mapping[str, object], dtype: str) -> str:
    """Return the type of a kernel's products for inputs of a dtype: tf32 in the place of fp32 where that is chosen."""
    return "tf32" if constants["PRECISION"] == "tf32" and dtype == "fp32" else dtype


def work(step: Step, dtype: str, precision: str) -> Work:
    """Return what one tile takes; what it reads comes from a cache, whose rate is CACHED times that of memory."""
    constants = step.launch.constants(precision)
    moved = read(step) + (2 * 4 * step.launch.blocks.block_m * step.launch.sizes.head_dim if _adds(step) else 0)
    return Work(flops(step.launch.spec, constants), moved / CACHED, product_dtype(constants, dtype))


def read(step: Step) -> float:
    """Return the bytes that a tile reads: keys and values, or queries and the gradients of their results."""
    sizes, blocks = step.launch.sizes, step.launch.blocks
    rows = blocks.block_m if step.launch.spec.kernel == "key_gradient" else blocks.block_n
    return rows * (sizes.head_dim + sizes.value_dim) * sizes.itemsize


def row_bytes(step: Step) -> float:
    """Return the bytes that all programs of a launch move beside tiles: the rows they start with, and their results."""
    spec, sizes, blocks = step.launch.spec, step.launch.sizes, step.launch.blocks
    keys, values = sizes.head_dim, sizes.value_dim
    written = 4 if spec.split or not step.side.once else sizes.itemsize
    results = written * (2 if spec.continues else 1)
    each = {
        "forward": blocks.block_m * (keys * sizes.itemsize + values * results),
        "query_gradient": blocks.block_m * ((keys + values) * sizes.itemsize + keys * results),
        "key_gradient": blocks.block_n * (keys + values) * (sizes.itemsize + results),
        "delta": blocks.block_m * (2 * values * sizes.itemsize + 12),
        "merge": blocks.block_m * values * results,
        "add": blocks.block_m * keys * results,
    }[spec.kernel]
    parts = 4 * blocks.block_m * (values if spec.kernel == "merge" else keys) * _parts(step)
    return step.programs * each + step.members * parts


def _parts(step: Step) -> int:
    """Return how many parts of split tiles a launch reads for one member."""
    if "split_tiles" not in step.launch.arrays:
        return 0
    tiles = np.asarray(step.launch.arrays["split_tiles"])
    return int((tiles[:, 2] - tiles[:, 1]).sum())


def _adds(step: Step) -> bool:
    """Return whether each tile adds to dQ."""
    return step.launch.spec.atomic


def expected(step: Step, gpu: Gpu) -> tuple[Mix, Resources]:
    """Return what a kernel's loop and its resources should be, before a compiler says what they are.

    Instructions of a warp for one full tile: exponentials and fp32 arithmetic of a softmax, and what any loop has.
    Warps that find less than 16 rows each do the work on scores again.
    """
    spec, sizes, blocks = step.launch.spec, step.launch.sizes, step.launch.blocks
    lanes = blocks.num_warps * gpu.warp_size
    of_keys, is_forward = spec.kernel == "key_gradient", spec.kernel == "forward"
    rows, others = (blocks.block_n, blocks.block_m) if of_keys else (blocks.block_m, blocks.block_n)
    scores = rows * others / lanes * max(1, _ROWS_OF_WARP * blocks.num_warps / rows)
    keys, values = width(sizes.head_dim), width(sizes.value_dim)
    counts = {
        Kind.SPECIAL: scores,
        Kind.FP32: 2 * scores + rows * values / lanes if is_forward else 3 * scores,
        Kind.MINMAX: scores if is_forward else 0,
        Kind.CONVERT: scores if of_keys else scores / 2,
        Kind.OTHER: _OTHER_INSTRUCTIONS,
    }
    sums = {"forward": values, "query_gradient": keys, "key_gradient": keys + values}[spec.kernel]
    start = keys if is_forward else keys + values
    held = (1 if is_forward else 2) * scores + rows * (sums + start * sizes.itemsize / 4) / lanes
    staged = (blocks.num_stages * others * (keys + values) + rows * start) * sizes.itemsize
    loaded = 0.0 if _reads_shared(gpu, rows) else read(step) * sum(PRODUCTS[spec.kernel]) / 2
    resources = Resources(int(held) + _OTHER_REGISTERS, 0, 0, int(staged), blocks.num_warps)
    # Triton's pipeline loads at the end of a pass; AMD's listings don't say how far ahead.
    copied, lead = (
        (int(read(step) / blocks.num_warps), max(0, blocks.num_stages - 2)) if gpu.backend == "cuda" else (0, 0)
    )
    return Mix({kind: int(count) for kind, count in counts.items()}, None, int(loaded), copied, lead), resources


def _reads_shared(gpu: Gpu, rows: int) -> bool:
    """Return whether products read operands from shared memory: since sm_90 those of four warps with 64 rows do."""
    return gpu.backend == "cuda" and int(gpu.triton_arch) >= 90 and rows >= 64
