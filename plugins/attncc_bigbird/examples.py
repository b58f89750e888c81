"""Parameters that show the patterns at a number of positions."""

from __future__ import annotations

from typing import Any


def itc(n: int, block: int) -> dict[str, Any]:
    """Return parameters of `bigbird`, with two random blocks a row."""
    from attncc_bigbird import blocks

    return blocks.itc(n, block=block, random=2)


def etc(n: int, extra: int, block: int) -> dict[str, Any]:
    """Return parameters of `bigbird_etc`, with two random blocks a row."""
    from attncc_bigbird import blocks

    return blocks.etc(max(n - extra, 1), extra, block=block, random=2)
