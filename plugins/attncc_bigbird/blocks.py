"""Blocks that a block of queries sees: its window, global blocks, and random ones that are drawn from a seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

import attncc
from attncc import ParameterError

Array = npt.NDArray[np.int64]


def itc(
    n: int,
    *,
    block: int = 64,
    window: int = 3,
    random: int | Array = 3,
    global_blocks: Sequence[int] = (0, -1),
    heads: int = 1,
    seed: int = 0,
    causal: bool = False,
) -> dict[str, Any]:
    """Return the parameters of `bigbird` for N tokens, of which some blocks are global (section 2, BigBird-ITC).

    Args:
        n: Tokens, N. The last block may have fewer than the others.
        block: Tokens of a block.
        window: Blocks of the window, an odd number: as many on either side of the query's own.
        random: Random blocks of each block of queries; or the blocks themselves, (blocks, R) or (heads, blocks, R), as
            `random_blocks` draws them.
        global_blocks: The global blocks; -1 is the last one.
        heads: Heads with random blocks of their own, H.
        seed: What the random blocks are drawn from.
        causal: Whether random blocks and the window lie before the query; add `.causal()` to the pattern.

    Returns:
        `attncc.load("bigbird", **itc(4096))` is the pattern.

    Raises:
        ParameterError: As `random_blocks`.
    """
    _require("n", n, 1)
    _require("block", block, 1)
    blocks = -(-n // block)
    known = _global_blocks(global_blocks, blocks)
    if isinstance(random, int | np.integer):
        random = random_blocks(
            blocks, random, window=window, global_blocks=global_blocks, heads=heads, seed=seed, causal=causal
        )
    seen = _joined(_window(blocks, window, causal), np.broadcast_to(known, (blocks, len(known))), random)
    is_global = np.zeros(blocks, bool)
    is_global[known] = True
    return {"blocks": attncc.Lists(seen, "blocks"), "is_global": is_global, "block": block}


def etc(
    n: int,
    extra: int,
    *,
    block: int = 64,
    window: int = 3,
    random: int | Array = 3,
    heads: int = 1,
    seed: int = 0,
) -> dict[str, Any]:
    """Return the parameters of `bigbird_etc` for N tokens behind `extra` global ones (section 2, BigBird-ETC).

    The other arguments, and what is raised, are those of `itc`. `attncc.load("bigbird_etc", **etc(4096, 64))` is the
    pattern, for 4,160 positions.
    """
    _require("extra", extra, 1)
    parameters = itc(n, block=block, window=window, random=random, global_blocks=(), heads=heads, seed=seed)
    return {"blocks": parameters["blocks"], "extra": extra, "block": block}


def random_blocks(
    blocks: int,
    random: int,
    *,
    window: int = 3,
    global_blocks: Sequence[int] = (0, -1),
    heads: int = 1,
    seed: int = 0,
    causal: bool = False,
) -> Array:
    """Return the random blocks of each block of queries: never one twice, in its window, or a global one.

    Args:
        blocks: Blocks of the sequence.
        random: Random blocks for each, R. If `causal`, the first rows have fewer, since they have fewer before them.
        window: Blocks of the window, an odd number.
        global_blocks: The global blocks, which get none; -1 is the last one.
        heads: Heads, H, each of which has its own.
        seed: What they are drawn from.
        causal: Whether all lie before the block of queries.

    Returns:
        (H, blocks, R), int64; -1 stands for none.

    Raises:
        ParameterError: For a window that isn't odd, global blocks that are repeated or outside, more random blocks than
            there are blocks to draw from, or a number below its least.
    """
    _require("blocks", blocks, 1)
    _require("random", random, 0)
    _require("heads", heads, 1)
    known = _global_blocks(global_blocks, blocks)
    row = np.arange(blocks)
    end = row if causal else np.full(blocks, blocks)
    taken = _ascending(_joined(_window(blocks, window, False), np.broadcast_to(known, (blocks, len(known)))), end)
    left = end - (taken < end[:, None]).sum(1)
    drawing = np.setdiff1d(row, known)
    least = blocks if causal else int(left[drawing].min(initial=blocks))
    if random > least:
        raise ParameterError(
            f"random={random} with {blocks} blocks.",
            rule=f"Random blocks are neither in the window nor global, which leaves {least} to draw from.",
            fix=f"Use at most {least}, smaller blocks, or a longer sequence.",
        )
    drawn = _without_replacement(np.random.default_rng(seed), left, random, heads)
    drawn[:, known] = -1
    found = drawn.copy()
    for column in taken.T:  # a rank among the blocks that are left becomes a number among all
        found += (column[:, None] <= found) & (drawn >= 0)
    return found


def _without_replacement(draw: np.random.Generator, left: Array, size: int, heads: int) -> Array:
    """Return `size` different numbers below left[row] for each head and row, -1 where there are fewer (Floyd 1987)."""
    found = np.full((heads, len(left), size), -1)
    for step in range(size):
        last = left - size + step
        number = draw.integers(0, np.maximum(last, 0) + 1, (heads, len(left)))
        again = (found == number[..., None]).any(-1)
        found[..., step] = np.where(last < 0, -1, np.where(again, last, number))
    return found


def _window(blocks: int, window: int, causal: bool) -> Array:
    """Return the blocks around each block, (blocks, window); -1 beyond the ends, and after it if causal."""
    _require("window", window, 1)
    if window % 2 == 0:
        raise ParameterError(
            f"window={window}.",
            rule="A window is an odd number of blocks: the query's own, and as many on either side.",
            fix=f"Use window={window + 1}.",
        )
    row = np.arange(blocks)[:, None]
    found = row + np.arange(window) - window // 2
    return np.where((found >= 0) & (found < (row + 1 if causal else blocks)), found, -1)


def _global_blocks(given: Sequence[int], blocks: int) -> Array:
    """Return the global blocks as numbers from 0; raises ParameterError for one that is repeated or outside."""
    numbers = [number + blocks if number < 0 else number for number in given]
    for number, named in zip(numbers, given, strict=True):
        inside = 0 <= number < blocks
        if not inside or numbers.count(number) > 1:
            raise ParameterError(
                f"global_blocks has {named}{', which is there twice' if inside else ''}.",
                rule=f"Global blocks are different numbers of the {blocks} blocks; -1 is the last one.",
                fix="Name each block once.",
            )
    return np.array(numbers, np.int64)


def _joined(*parts: Array) -> Array:
    """Return the entries of several lists side by side: (blocks, K), or (1, heads, blocks, K) where heads differ."""
    whole = [part[0] if part.ndim == 3 and len(part) == 1 else part for part in parts]
    leading = max((part.shape[:-2] for part in whole), key=len)
    found = np.concatenate([np.broadcast_to(part, leading + part.shape[-2:]) for part in whole], -1)
    return found[None] if found.ndim == 3 else found


def _ascending(entries: Array, end: Array) -> Array:
    """Return each row's different entries in ascending order, and `end` or more in place of all others."""
    beyond = len(entries)
    found = np.sort(np.where(entries < 0, beyond, entries), -1)
    found[:, 1:][found[:, 1:] == found[:, :-1]] = beyond
    found.sort(-1)
    return np.where(found < end[:, None], found, beyond)


def _require(name: str, value: object, least: int) -> None:
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < least:
        raise ParameterError(
            f"{name}={value!r}.", rule=f"It is an integer of at least {least}.", fix=f"Use {name}={max(least, 1)}."
        )
