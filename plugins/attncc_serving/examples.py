"""Parameters that show the patterns at a number of positions; what is cut is cut in sixteenths of them."""

from __future__ import annotations

from typing import Any

import numpy as np

#: A root with two branches, which branch again: where each segment begins, and where its descendants end.
_TREE = ((0, 16), (3, 9), (5, 6), (6, 9), (9, 16), (11, 14), (14, 16))


def lengths(n: int) -> dict[str, Any]:
    """Return the length of one prefix."""
    return {"lengths": [n * 6 // 16]}


def continuations(n: int) -> dict[str, Any]:
    """Return a prefix and four continuations of unlike lengths."""
    return {"ids": _part((5, 8, 10, 14), n)}


def segments(n: int) -> dict[str, Any]:
    """Return a tree of rollouts, the tokens of a segment entered as its first one."""
    starts, ends = np.array(_TREE).T
    part = _part(starts, n)
    return {"enter": (starts * n // 16)[part], "leave": (ends * n // 16)[part]}


def drafts(n: int) -> dict[str, Any]:
    """Return a tree of draft tokens, each the parent of the next one of its branch."""
    return {"enter": np.arange(n), "leave": segments(n)["leave"]}


def documents(n: int) -> dict[str, Any]:
    """Return where three documents of unlike lengths begin."""
    starts = np.array([0, 2, 13])
    return {"starts": (starts * n // 16)[_part(starts, n)]}


def _part(starts: Any, n: int) -> Any:
    """Return the number of the part of each position, -1 before the first one."""
    return np.searchsorted(np.asarray(starts) * n // 16, np.arange(n), side="right") - 1
