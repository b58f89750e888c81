"""Masks of attn-gym by the names and parameters of its own functions, for where it isn't installed.

Source: attn-gym 0.0.17, attn_gym/masks. Row r of queries is position r there, whatever the number of keys. All
others of its functions run as they are: pass what they return to `attncc.attention`.
"""

from __future__ import annotations

from typing import Annotated, Any

from attncc.frontend.language import Index, Table
from attncc.frontend.pattern_factory import pattern
from attncc.frontend.patterns import Pattern
from attncc.ir.claims import Bounds
from attncc.ir.condition import Condition
from attncc.like.band import check_choice

NotNegative = Annotated[int, Bounds(minimum=0)]
Positive = Annotated[int, Bounds(minimum=1)]


@pattern
def causal_mask(i: Index, j: Index) -> Condition:
    """All keys up to the query's own."""
    return i >= j


@pattern
def generate_sliding_window(i: Index, j: Index, *, window_size: NotNegative) -> Condition:
    """The query's own key and `window_size` before it."""
    return (i - j <= window_size) & (i >= j)


@pattern
def generate_dilated_sliding_window(i: Index, j: Index, *, window_size: NotNegative, dilation: Positive) -> Condition:
    """Every `dilation`-th key up to `window_size` away, on both sides."""
    return (abs(i - j) <= window_size) & (abs(i - j) % dilation == 0)


@pattern
def generate_prefix_lm_mask(i: Index, j: Index, *, prefix_length: NotNegative) -> Condition:
    """The first `prefix_length` keys, and all up to the query's own."""
    return (j < prefix_length) | (i >= j)


@pattern
def generate_global_sliding_window(i: Index, j: Index, *, window_size: NotNegative, is_global: Table) -> Condition:
    """Keys up to `window_size` away, on both sides; global tokens see all, and all see them."""
    seen: Condition = (abs(i - j) <= window_size) | is_global[i] | is_global[j]
    return seen


_MASKS = {
    mask.name: mask
    for mask in (
        causal_mask,
        generate_sliding_window,
        generate_dilated_sliding_window,
        generate_prefix_lm_mask,
        generate_global_sliding_window,
    )
}


def attn_gym(mask: str, **parameters: Any) -> Pattern:
    """Return a mask of attn-gym, by the name of its function: `attn_gym("generate_sliding_window", window_size=256)`.

    A window of 256 has 257 keys.

    Args:
        mask: causal_mask, generate_sliding_window, generate_dilated_sliding_window, generate_prefix_lm_mask or
            generate_global_sliding_window.
        parameters: Those of the function. `is_global` is bool, (N,).

    Raises:
        ParameterError: For another mask, or for parameters that it doesn't have.
        TableError: For an `is_global` that is no table.
    """
    check_choice("attn_gym", "mask", mask, _MASKS)
    return _MASKS[mask](**parameters)
