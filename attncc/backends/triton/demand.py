"""The demand of launches on a GPU: tiles visited, products, bytes, and the instructions that arithmetic asks for."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from attncc.backends.head_chunks import padded
from attncc.backends.triton.launch import Launch
from attncc.backends.triton.spec import Spec
from attncc.ir.tables import Array
from attncc.machine_code.instructions import Mix, OpKind
from attncc.machine_code.resources import Resources
from attncc.machine_code.throughput import TileDemand
from attncc.planner.order import ranges
from attncc.targets import Gpu

#: What the caches give over what memory gives: 2 to 5 on these GPUs.
CACHED = 3.0
#: Registers of a thread beside tiles: addresses, counters, statistics of rows.
_OTHER_REGISTERS = 60
#: Instructions of a warp beside those on scores and sums: addresses, loads, barriers, products.
_OTHER_INSTRUCTIONS = 100
#: Rows of a warp's matrix product.
_ROWS_OF_WARP = 16


def visited(launch: Launch) -> tuple[Array, Array]:
    """Return how many full and how many partial tiles each item visits, (count,) each, in launch order."""
    items, runs = (np.asarray(launch.arrays[name]) for name in ("items", "runs"))
    before = np.concatenate([[0], np.cumsum(runs[:, 1] - runs[:, 0], dtype=np.int64)])
    _, full, partial, end = items.T
    rounds = _rounds(launch)
    return (before[partial] - before[full]) * rounds, (before[end] - before[partial]) * rounds


def distinct_read(launch: Launch) -> float:
    """Return the bytes of the distinct tiles of the other axis that the items of one head of the grid read."""
    runs = np.asarray(launch.arrays["runs"])
    if not len(runs):
        return 0.0
    last = int(runs[:, 1].max()) + 1
    if launch.spec.grouped:  # one grid for all heads, whose tiles are none of each other's
        items, programs = (np.asarray(launch.arrays[name]).astype(np.int64) for name in ("items", "programs"))
        count = items[:, 3] - items[:, 1]
        runs = runs[ranges(items[:, 1], count)] + np.repeat(programs[:, 1] * last, count)[:, None]
        last *= int(programs[:, 1].max()) + 1
    opened = np.bincount(runs[:, 0], minlength=last) - np.bincount(runs[:, 1], minlength=last)
    return int((np.cumsum(opened) > 0).sum()) * read(launch) * _rounds(launch)


def _rounds(launch: Launch) -> float:
    """Return how often an item goes through its runs: one of keys does for each query head that shares its key head."""
    return launch.heads.queries / launch.heads.keys if launch.spec.holds_keys else 1.0


def flops(spec: Spec, constants: Mapping[str, object]) -> float:
    """Return the useful FLOP of one tile."""
    assert spec.signature.products is not None
    keys, values = spec.signature.products
    sizes = {name: int(value) for name, value in constants.items() if isinstance(value, int)}
    depth = (keys + spec.atomic) * sizes["HEAD_DIM"] + values * sizes["VALUE_DIM"]
    return 2.0 * sizes["BLOCK_M"] * sizes["BLOCK_N"] * depth


def product_dtype(constants: Mapping[str, object], dtype: str) -> str:
    """Return the type of a kernel's products for inputs of a dtype: tf32 in the place of fp32 where that is chosen."""
    return "tf32" if constants["PRECISION"] == "tf32" and dtype == "fp32" else dtype


def of_tile(launch: Launch, dtype: str, precision: str) -> TileDemand:
    """Return the demand of one tile, which is read from a cache, whose rate is CACHED times that of memory."""
    constants = launch.constants(precision)
    added = 2 * 4 * launch.blocks.block_m * launch.shape.head_dim if launch.spec.atomic else 0  # to dQ
    moved = (read(launch) + added) / CACHED
    return TileDemand(flops(launch.spec, constants), moved, product_dtype(constants, dtype))


def read(launch: Launch) -> float:
    """Return the bytes that a tile reads: keys and values, or queries and the gradients of their results."""
    shape, blocks = launch.shape, launch.blocks
    rows = blocks.block_m if launch.spec.holds_keys else blocks.block_n
    return rows * (shape.head_dim + shape.value_dim) * shape.itemsize


def row_bytes(launch: Launch) -> float:
    """Return the bytes that all programs move beside tiles: the rows they start with, and their results."""
    spec, shape, blocks = launch.spec, launch.shape, launch.blocks
    keys, values = shape.head_dim, shape.value_dim
    written = 4 if spec.split or launch.accumulated else shape.itemsize
    results = written * (2 if spec.continues else 1)
    of_program = {
        "forward": blocks.block_m * (keys * shape.itemsize + values * results),
        "query_gradient": blocks.block_m * ((keys + values) * shape.itemsize + keys * results),
        "key_gradient": blocks.block_n * (keys + values) * (shape.itemsize + results),
        "delta": blocks.block_m * (2 * values * shape.itemsize + 12),
        "merge": blocks.block_m * values * results,
        "add": blocks.block_m * keys * results,
    }[spec.kernel]
    parts = 4 * blocks.block_m * (values if spec.kernel == "merge" else keys) * _parts(launch)
    return launch.programs * of_program + launch.grid_heads * parts


def _parts(launch: Launch) -> int:
    """Return how many parts of split tiles a launch reads for one head."""
    if "split_tiles" not in launch.arrays:
        return 0
    tiles = np.asarray(launch.arrays["split_tiles"])
    return int((tiles[:, 2] - tiles[:, 1]).sum())


def expected(launch: Launch, gpu: Gpu) -> tuple[Mix, Resources]:
    """Return an estimate of the instructions of a kernel's loop, and of its resources, that needs no compiler.

    The instructions are those of a warp for one full tile: exponentials and fp32 arithmetic of a softmax, and the
    overhead of any loop. Warps with fewer than 16 rows each repeat the work on scores.
    """
    spec, shape, blocks = launch.spec, launch.shape, launch.blocks
    lanes = blocks.num_warps * gpu.warp_size
    assert spec.signature.products is not None
    is_forward, products = spec.kernel == "forward", sum(spec.signature.products)
    rows = launch.tile_rows
    others = blocks.block_m if spec.holds_keys else blocks.block_n
    scores = rows * others / lanes * max(1, _ROWS_OF_WARP * blocks.num_warps / rows)
    keys, values = padded(shape.head_dim), padded(shape.value_dim)
    counts = {
        OpKind.SPECIAL: scores,
        OpKind.FP32: 2 * scores + rows * values / lanes if is_forward else 3 * scores,
        OpKind.MINMAX: scores if is_forward else 0,
        OpKind.CONVERT: scores if spec.holds_keys else scores / 2,
        OpKind.OTHER: _OTHER_INSTRUCTIONS,
    }
    sums = {"forward": values, "query_gradient": keys, "key_gradient": keys + values}[spec.kernel]
    start = keys if is_forward else keys + values
    held = (1 if is_forward else 2) * scores + rows * (sums + start * shape.itemsize / 4) / lanes
    staged = (blocks.num_stages * others * (keys + values) + rows * start) * shape.itemsize
    loaded = 0.0 if _reads_shared(gpu, rows) else read(launch) * products / 2
    resources = Resources(int(held) + _OTHER_REGISTERS, 0, 0, int(staged), blocks.num_warps)
    # Triton's pipeline loads at the end of a pass; AMD's listings don't say how far ahead.
    copied, lead = (
        (int(read(launch) / blocks.num_warps), max(0, blocks.num_stages - 2)) if gpu.backend == "cuda" else (0, 0)
    )
    return Mix({op_class: int(count) for op_class, count in counts.items()}, None, int(loaded), copied, lead), resources


def _reads_shared(gpu: Gpu, rows: int) -> bool:
    """Return whether products read operands from shared memory: since sm_90 those of four warps with 64 rows do."""
    return gpu.backend == "cuda" and int(gpu.triton_arch) >= 90 and rows >= 64
