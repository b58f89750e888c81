"""Odd ranks: those that say something else than most."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence


def odd(found: Mapping[int, object]) -> list[int]:
    """Return the ranks that have something else than most; where as many have either, the lowest rank has the usual."""
    usual = Counter(found[rank] for rank in sorted(found)).most_common(1)[0][0]
    return [rank for rank in sorted(found) if found[rank] != usual]


def named(ranks: Sequence[int]) -> str:
    """Return ranks in words."""
    return f"rank {ranks[0]}" if len(ranks) == 1 else f"ranks {', '.join(map(str, ranks))}"
