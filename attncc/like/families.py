"""Masks of libraries for which a family of patterns is installed, under the names of their own parameters."""

from __future__ import annotations

from typing import Any

import numpy as np

from attncc.errors import ParameterError
from attncc.frontend.catalog import load
from attncc.frontend.lists import Lists
from attncc.frontend.patterns import Pattern
from attncc.like.band import check_at_least

#: By the number of axes: their names in the family `neighborhood`, and what ends their other parameters.
_AXES: dict[int, tuple[tuple[str, str], ...]] = {
    1: (("length", ""),),
    2: (("height", "_h"), ("width", "_w")),
    3: (("depth", "_d"), ("height", "_h"), ("width", "_w")),
}


def natten(
    shape: int | tuple[int, ...],
    kernel_size: int | tuple[int, ...],
    *,
    stride: int | tuple[int, ...] = 1,
    dilation: int | tuple[int, ...] = 1,
    is_causal: bool | tuple[bool, ...] = False,
) -> Pattern:
    """Return the mask of NATTEN's `na1d`, `na2d` and `na3d`, for tokens in row-major order.

    Source: NATTEN 0.21, natten/functional.py; the definitions are those of the family `neighborhood`.

    Args:
        shape: The lengths of one to three axes; an integer is the length of one.
        kernel_size: Keys along each axis, or along all.
        stride: Queries that share a neighbourhood, likewise.
        dilation: The distance of neighbours, likewise.
        is_causal: Whether later positions are hidden, likewise.

    Raises:
        ParameterError: For another number of axes, or numbers that don't fit an axis.
    """
    shape = shape if isinstance(shape, tuple | list) else (check_at_least("natten", "shape", shape, 1),)
    axes = _AXES.get(len(shape))
    if axes is None:
        raise ParameterError(
            f"natten: shape={shape!r}.", rule="A grid has one to three axes.", fix="Pass (height, width), for example."
        )
    parameters: dict[str, Any] = {name: size for (name, _), size in zip(axes, shape, strict=True)}
    given = {"kernel": kernel_size, "stride": stride, "dilation": dilation, "causal": is_causal}
    for name, value in given.items():
        values = value if isinstance(value, tuple | list) else (value,) * len(axes)
        if len(values) != len(axes):
            raise ParameterError(
                f"natten: {name} {value!r} for shape={shape!r}.",
                rule="There is one for each axis, or one for all.",
                fix=f"Pass {len(axes)} of them.",
            )
        parameters |= {f"{name}{end}": one for (_, end), one in zip(axes, values, strict=True)}
    return load(f"neighborhood_{len(axes)}d", **parameters)


def longformer(
    attention_window: int, attention_mask: Any, global_attention_mask: Any = None, *, attention_dilation: int = 1
) -> Pattern:
    """Return the mask of a layer of Longformer in Transformers, global tokens and padding included.

    `attention_window` counts the keys beside a token's own, half of them on either side: 512 has 513 keys.
    Source: Transformers 5.24, models/longformer/modeling_longformer.py.

    Args:
        attention_window: An even number.
        attention_mask: (B, N), 1 for tokens and 0 for padding.
        global_attention_mask: (B, N), 1 for global tokens; none by default.
        attention_dilation: The distance of the window's keys.

    Raises:
        ParameterError: For an odd window, or one below 2.
        TableError: For masks that aren't integers.
    """
    window = check_at_least("longformer", "attention_window", attention_window, 2)
    if window % 2:
        raise ParameterError(
            f"longformer: attention_window={window}.",
            rule="It has as many keys before a token as after it.",
            fix=f"Use {window + 1}.",
        )
    roles = np.asarray(attention_mask)
    if global_attention_mask is not None:
        roles = roles * (np.asarray(global_attention_mask) + 1)
    return load("longformer", roles=roles, window=window, dilation=attention_dilation)


def bigbird(seq_len: int, *, block_size: int = 64, rand_attn: Any = None) -> Pattern:
    """Return the mask of a layer of BigBird in Transformers, `attention_type="block_sparse"`, without padding.

    Blocks of queries see the three around them, the first, the last and random ones; the first and the last see all.
    Source: Transformers 5.24, models/big_bird/modeling_big_bird.py. Its softmax counts a block as often as it is
    gathered, which the score `attncc_bigbird.repeats.repeated` adds.

    Args:
        seq_len: A multiple of `block_size`, at least five blocks.
        block_size: Tokens of a block.
        rand_attn: The random blocks of all blocks of queries but the first and the last, integers
            (H, blocks - 2, R), as the module draws them in training. None for `eval()`: all are block 0, which is seen
            anyway.

    Raises:
        ParameterError: For lengths that blocks don't divide, or random blocks of another shape.
        TableError: For random blocks that aren't integers.
    """
    size = check_at_least("bigbird", "block_size", block_size, 1)
    blocks, rest = divmod(check_at_least("bigbird", "seq_len", seq_len, 5 * size), size)
    drawn = np.zeros((1, blocks - 2, 0), np.int64) if rand_attn is None else np.asarray(rand_attn)
    if rest or drawn.ndim != 3 or drawn.shape[1] != blocks - 2:
        raise ParameterError(
            f"bigbird: seq_len={seq_len}, block_size={size}, rand_attn of shape {drawn.shape}.",
            rule="Blocks divide the sequence, and rand_attn is (heads, blocks - 2, random blocks).",
            fix="Pass the padded length, and the module's own rand_attn of one batch entry.",
        )
    row = np.arange(blocks)
    window = np.stack([row - 1, row, np.append(row[1:], -1), row * 0, row * 0 + blocks - 1], axis=1)
    listed = np.broadcast_to(window, (len(drawn), *window.shape))
    random = np.pad(drawn, ((0, 0), (1, 1), (0, 0)), constant_values=-1)
    seen = np.concatenate([listed, random], axis=2)[None]
    is_global = np.isin(row, (0, blocks - 1))
    return load("bigbird", blocks=Lists(seen, "blocks"), is_global=is_global, block=size)
