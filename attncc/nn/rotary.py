"""Rotary positions (Su et al. 2021)."""

from __future__ import annotations

import torch
from torch import Tensor

from attncc.errors import ParameterError


def rotated(x: Tensor, first: int, base: float = 10_000.0) -> Tensor:
    """Return queries or keys with each pair of channels turned by an angle that grows with the position.

    Channel c pairs with channel c + D / 2, as in GPT-NeoX and Llama.

    Args:
        x: (B, H, N, D), D even.
        first: The position of the first of the N rows.
        base: Of the geometric sequence of wavelengths.

    Raises:
        ParameterError: For an odd D.
    """
    size = x.shape[-1]
    if size % 2:
        raise ParameterError(
            f"Rotary positions for heads of {size}.", rule="They turn pairs of channels.", fix="Use an even head size."
        )
    frequencies = base ** (-torch.arange(0, size, 2, device=x.device, dtype=torch.float32) / size)
    angles = torch.outer(torch.arange(first, first + x.shape[-2], device=x.device, dtype=torch.float32), frequencies)
    cosine, sine = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    left, right = x.chunk(2, -1)
    return torch.cat([left * cosine - right * sine, right * cosine + left * sine], -1)
