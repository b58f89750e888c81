"""Parameters that show the patterns at a number of positions."""

from __future__ import annotations

from typing import Any


def roles(n: int) -> dict[str, Any]:
    """Return a global question in front, two more global stretches, and padding at the end."""
    from attncc_longformer.roles import token_roles

    starts, length = (0, n * 3 // 8, n * 3 // 4), max(n // 64, 1)
    tokens = sorted({start + step for start in starts for step in range(length)})
    return {"roles": token_roles(n, [tokens], [n - n // 16])[0]}
