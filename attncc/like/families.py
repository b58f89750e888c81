"""Masks of libraries for which a family of patterns is installed, under the names of their own parameters."""

from __future__ import annotations

from typing import Any

import numpy as np

from attncc.errors import ParameterError
from attncc.frontend.catalog import load
from attncc.frontend.patterns import Pattern
from attncc.like.band import check_at_least

#: By the number of axes: their names in the family `neighborhood`, and what ends their other parameters.
_AXES: dict[int, tuple[tuple[str, str], ...]] = {
    1: (("length", ""),),
    2: (("height", "_h"), ("width", "_w")),
    3: (("depth", "_d"), ("height", "_h"), ("width", "_w")),
}


def natten(
    shape: tuple[int, ...],
    kernel_size: int | tuple[int, ...],
    *,
    stride: int | tuple[int, ...] = 1,
    dilation: int | tuple[int, ...] = 1,
    is_causal: bool | tuple[bool, ...] = False,
) -> Pattern:
    """Return the mask of NATTEN's `na1d`, `na2d` and `na3d`, for tokens in row-major order.

    Source: NATTEN 0.21, natten/functional.py; the definitions are those of the family `neighborhood`.

    Args:
        shape: The lengths of one to three axes.
        kernel_size: Keys along each axis, or along all.
        stride: Queries that share a neighbourhood, likewise.
        dilation: The distance of neighbours, likewise.
        is_causal: Whether later positions are hidden, likewise.

    Raises:
        ParameterError: For another number of axes, or numbers that don't fit an axis.
    """
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
