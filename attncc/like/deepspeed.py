"""DeepSpeed's sparsity configurations as patterns, by their own parameter names.

Definitions: deepspeed/ops/sparse_attention/sparsity_config.py of deepspeedai/DeepSpeed at 985acb15. A layout says which
blocks of queries see which blocks of keys, and all pairs of these. "unidirectional" is of blocks, too: DeepSpeed masks
what is later inside of a block by an attention mask beside it, which is `.causal()` here.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from attncc.errors import ParameterError, check_known
from attncc.frontend.language import Index, Table, minimum
from attncc.frontend.lists import Lists
from attncc.frontend.pattern_factory import pattern
from attncc.frontend.patterns import Pattern
from attncc.ir.condition import Condition
from attncc.like.band import check_at_least, check_flag

#: What `attention` may be.
DIRECTIONS = ("bidirectional", "unidirectional")
#: A function of the numbers of a query's and a key's block, the number of blocks, and the head.
OfBlocks = Callable[[Any, Any, Any, Any], Any]


def dense(num_heads: int, block: int = 16, different_layout_per_head: bool = False) -> Pattern:
    """Return `DenseSparsityConfig`: all blocks see each other."""
    return _made("dense", block, lambda q, k, blocks, h: k >= 0)


def fixed(
    num_heads: int,
    block: int = 16,
    different_layout_per_head: bool = False,
    num_local_blocks: int = 4,
    num_global_blocks: int = 1,
    attention: str = "bidirectional",
    horizontal_global_attention: bool = False,
    num_different_global_patterns: int = 1,
) -> Pattern:
    """Return `FixedSparsityConfig`: windows of blocks, and blocks of each window that all (later) queries see.

    The parameters are DeepSpeed's. Raises ParameterError where DeepSpeed refuses them.
    """
    causal = _is_causal(attention, horizontal_global_attention)
    by_head = check_flag("deepspeed", "different_layout_per_head", different_layout_per_head)
    local, size = _count(num_local_blocks=num_local_blocks), _count(num_global_blocks=num_global_blocks)
    _require(local % size == 0, "num_global_blocks", size, f"It divides num_local_blocks={local}.")
    kinds = _count(num_different_global_patterns=num_different_global_patterns)
    _require(
        kinds <= local // size and (kinds == 1 or by_head),
        "num_different_global_patterns",
        kinds,
        "It is at most num_local_blocks // num_global_blocks, and 1 unless different_layout_per_head.",
    )

    def seen(q: Any, k: Any, blocks: Any, h: Any) -> Any:
        first = local - (1 + (h % kinds if kinds > 1 else 0)) * size
        whole = blocks // local * local  # from here on a window is cut off
        last = minimum(whole + first, blocks - size)
        ragged = blocks % local > 0

        def is_global(block: Any, queries: Any = None) -> Any:
            """Whether a block is global; of those that only later queries see, for these blocks of queries."""
            inside = (block % local >= first) & (block % local < first + size) & (block < whole)
            at_end = ragged & (block >= last) & (block < last + size)
            if queries is not None:
                inside, at_end = inside & (queries >= block // local * local + first), at_end & (queries >= last)
            return inside | at_end

        same = q // local == k // local
        if causal:
            return (same & (k <= q)) | is_global(k, q)
        return same | is_global(k) | is_global(q) if horizontal_global_attention else same | is_global(k)

    return _made("fixed", block, seen)


def variable(
    num_heads: int,
    block: int = 16,
    different_layout_per_head: bool = False,
    num_random_blocks: int = 0,
    local_window_blocks: Sequence[int] = (4,),
    global_block_indices: Sequence[int] = (0,),
    global_block_end_indices: Sequence[int] | None = None,
    attention: str = "bidirectional",
    horizontal_global_attention: bool = False,
    *,
    seq_len: int | None = None,
    seed: int | None = None,
) -> Pattern:
    """Return `VariableSparsityConfig`: windows of several sizes, global blocks, and random ones.

    The parameters are DeepSpeed's. Random blocks are those that DeepSpeed draws at `seq_len` after `random.seed(seed)`.
    Raises ParameterError where DeepSpeed refuses them, and for random blocks without `seq_len` and `seed`.
    """
    causal = _is_causal(attention, horizontal_global_attention)
    spans = _spans(global_block_indices, global_block_end_indices)
    windows = _counts(1, local_window_blocks=local_window_blocks)
    _require(windows, "local_window_blocks", windows, "It has one number at least.")
    listed = _drawn(num_random_blocks, num_heads, different_layout_per_head, block, seq_len, seed, lambda row, n: n)

    def seen(q: Any, k: Any, blocks: Any, h: Any) -> Any:
        first, found = 0, None
        for size in windows:
            own = (q >= first) & (q < first + size) & (k >= first) & (k < first + size)
            found, first = own if found is None else found | own, first + size
        rest = (q >= first) & (k >= first) & ((q - first) // windows[-1] == (k - first) // windows[-1])
        found = found | rest
        if causal:
            found = found & (k <= q)
        for start, stop in spans:
            columns = (k >= start) & (k < stop)
            found = found | (columns & (q >= start) if causal else columns)
            if horizontal_global_attention:
                found = found | ((q >= start) & (q < stop))
        return found

    return _made("variable", block, seen, listed)


def big_bird(
    num_heads: int,
    block: int = 16,
    different_layout_per_head: bool = False,
    num_random_blocks: int = 1,
    num_sliding_window_blocks: int = 3,
    num_global_blocks: int = 1,
    attention: str = "bidirectional",
    *,
    seq_len: int | None = None,
    seed: int | None = None,
) -> Pattern:
    """Return `BigBirdSparsityConfig`: a window of blocks on both sides, the first blocks, and random ones.

    The parameters are DeepSpeed's; see `variable` for `seq_len` and `seed`. A window of 2 n and of 2 n + 1 blocks is n
    to each side.
    """
    causal = _is_causal(attention)
    side = _count(0, num_sliding_window_blocks=num_sliding_window_blocks) // 2
    num_global_blocks = _count(0, num_global_blocks=num_global_blocks)

    def most(row: int, blocks: int) -> int:
        return row + 1 if causal else blocks

    listed = _drawn(num_random_blocks, num_heads, different_layout_per_head, block, seq_len, seed, most)

    def seen(q: Any, k: Any, blocks: Any, h: Any) -> Any:
        near = (q - k <= side) & (k - q <= side)
        found = near | (q < num_global_blocks) | (k < num_global_blocks)
        return found & (k <= q) if causal else found

    return _made("big_bird", block, seen, listed)


def bs_longformer(
    num_heads: int,
    block: int = 16,
    different_layout_per_head: bool = False,
    num_sliding_window_blocks: int = 3,
    global_block_indices: Sequence[int] = (0,),
    global_block_end_indices: Sequence[int] | None = None,
    attention: str = "bidirectional",
) -> Pattern:
    """Return `BSLongformerSparsityConfig`: a window of blocks on both sides, and global rows and columns of blocks."""
    causal = _is_causal(attention)
    side = _count(0, num_sliding_window_blocks=num_sliding_window_blocks) // 2
    spans = _spans(global_block_indices, global_block_end_indices)

    def seen(q: Any, k: Any, blocks: Any, h: Any) -> Any:
        found = (q - k <= side) & (k - q <= side)
        for start, stop in spans:
            found = found | ((q >= start) & (q < stop)) | ((k >= start) & (k < stop))
        return found & (k <= q) if causal else found

    return _made("bs_longformer", block, seen)


def local_sliding_window(
    num_heads: int, block: int = 16, num_sliding_window_blocks: int = 3, attention: str = "unidirectional"
) -> Pattern:
    """Return `LocalSlidingWindowSparsityConfig`: of a window of blocks the half before each query's, or both halves."""
    causal = _is_causal(attention)
    side = _count(0, num_sliding_window_blocks=num_sliding_window_blocks) // 2

    def seen(q: Any, k: Any, blocks: Any, h: Any) -> Any:
        return (q - k <= side) & (k - q <= (0 if causal else side))

    return _made("local_sliding_window", block, seen)


def from_layout(layout: Any, block: int = 16) -> Pattern:
    """Return the pattern of a layout that DeepSpeed made, `config.make_layout(seq_len)`.

    Args:
        layout: (heads, blocks, blocks), 1 where a block of queries sees a block of keys.
        block: Positions of a block.

    Raises:
        ParameterError: For another number of dimensions, or a block below 1.
        TableError: For data that can't be a table.
    """
    block = _count(block=block)
    data = np.asarray(layout)
    _require(data.ndim == 3, "layout", data.shape, "It is (heads, blocks, blocks).")
    data = data.astype(bool)
    data = data[None, :1] if (data == data[:1]).all() else data[None]

    @pattern
    def laid_out(i: Index, j: Index, *, layout: Table) -> Condition:
        found: Condition = layout[i // block, j // block]
        return found

    return laid_out(layout=data)


def _made(name: str, block: int, seen: OfBlocks, listed: Any = None) -> Pattern:
    """Return the pattern of blocks that see each other, with those that are listed for each block of queries."""
    block = _count(block=block)

    def of_blocks(i: Index, j: Index, h: Index, n_k: Index) -> Condition:
        found: Condition = seen(i // block, j // block, n_k // block, h)
        return found

    of_blocks.__name__ = name
    made = pattern(of_blocks)()
    return made if listed is None else made | random_blocks(blocks=listed, block=block)


@pattern
def random_blocks(i: Index, j: Index, *, blocks: Lists, block: int) -> Condition:
    """The blocks of keys that are listed for each block of queries."""
    found: Condition = (j // block).isin(blocks[i // block])
    return found


def _drawn(
    number: int,
    heads: int,
    by_head: bool,
    block: int,
    seq_len: int | None,
    seed: int | None,
    most: Callable[[int, int], int],
) -> Any:
    """Return the blocks that DeepSpeed draws, (1, heads or 1, blocks, number); None where it draws none."""
    number, heads, block = _count(0, num_random_blocks=number), _count(num_heads=heads), _count(block=block)
    by_head = check_flag("deepspeed", "different_layout_per_head", by_head)
    if not number:
        return None
    if seq_len is None or seed is None:
        raise ParameterError(
            f"num_random_blocks={number} with seq_len={seq_len} and seed={seed}.",
            rule="Random blocks are drawn for a length.",
            fix="Give both, or pass config.make_layout(seq_len) to from_layout.",
        )
    seq_len = _count(seq_len=seq_len)
    blocks, draw = seq_len // block, random.Random(_count(0, seed=seed))
    _require(seq_len % block == 0, "seq_len", seq_len, f"It is a multiple of block={block}.")
    rows = [most(row, blocks) for row in range(blocks)]
    _require(number <= min(rows, default=number), "num_random_blocks", number, "A row has as many blocks to draw from.")
    drawn = [[draw.sample(range(n), number) for n in rows] for _ in range(heads if by_head else 1)]
    return np.array([drawn])


def _spans(starts: Sequence[int], stops: Sequence[int] | None) -> list[tuple[int, int]]:
    """Return (first block, after the last) of each range of global blocks."""
    starts = _counts(0, global_block_indices=starts)
    ends = [start + 1 for start in starts] if stops is None else _counts(1, global_block_end_indices=stops)
    alike = len(ends) == len(starts) and all(start < end for start, end in zip(starts, ends, strict=False))
    _require(alike, "global_block_end_indices", stops, "It has an end for each of global_block_indices, after it.")
    return list(zip(starts, ends, strict=True))


def _is_causal(attention: str, horizontal: bool = False) -> bool:
    check_known("attention", attention, DIRECTIONS, ParameterError)
    causal = attention == "unidirectional"
    horizontal = check_flag("deepspeed", "horizontal_global_attention", horizontal)
    _require(
        not (causal and horizontal), "horizontal_global_attention", horizontal, "It is for bidirectional attention."
    )
    return causal


def _count(minimum: int = 1, **parameter: object) -> int:
    """Return a parameter that is a number of blocks, heads or positions."""
    ((name, value),) = parameter.items()
    return check_at_least("deepspeed", name, value, minimum)


def _counts(minimum: int, **parameter: Any) -> tuple[int, ...]:
    """Return a parameter that is a sequence of such numbers."""
    ((name, values),) = parameter.items()
    listed = np.asarray(values)
    _require(listed.ndim == 1, name, values, "It is a sequence of integers.")
    return tuple(check_at_least("deepspeed", name, value, minimum) for value in listed)


def _require(holds: Any, name: str, value: object, rule: str) -> None:
    if not holds:
        raise ParameterError(f"{name}={value!r}.", rule=rule, fix="See DeepSpeed's sparsity_config.py.")
