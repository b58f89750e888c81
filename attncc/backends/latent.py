"""Latent attention: values that are the first columns of their keys, in the same memory (DeepSeek-V2, section 2.1)."""

from __future__ import annotations

from torch import Tensor


def is_view_of_key(value: Tensor, key: Tensor) -> bool:
    """Return whether value (B, H, N, Dv) is key[..., :Dv] of a key (B, H, N, D), a view and no copy."""
    return value.data_ptr() == key.data_ptr() and value.stride() == key.stride() and value.shape[-1] <= key.shape[-1]
