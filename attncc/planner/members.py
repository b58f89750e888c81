"""Members of a group: batch entries and heads that share a predicate, as a product of both."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TypeVar

#: (batch entries, heads); None for all of them.
Members = tuple[tuple[int, ...] | None, tuple[int, ...] | None]
Shared = TypeVar("Shared")


def grouped(
    entries: int,
    heads: int,
    by_entry: bool,
    by_head: bool,
    of: Callable[[int, int], tuple[Hashable, Shared]],
) -> list[tuple[Members, Shared]]:
    """Return the groups of batch entries and heads that share what `of` returns, with the first that has it.

    Args:
        entries: Batch entries.
        heads: Heads.
        by_entry: Whether entries differ; without, the first stands for all of them.
        by_head: Whether heads differ.
        of: Gives, of an entry and a head, what is shared, after what it is known by.
    """
    found: dict[tuple[tuple[int, ...] | None, Hashable], tuple[list[int], Shared]] = {}
    for entry in range(entries if by_entry else 1):
        if not by_head:
            key, shared = of(entry, 0)
            found.setdefault((None, key), ([], shared))[0].append(entry)
            continue
        alike: dict[Hashable, tuple[list[int], Shared]] = {}
        for head in range(heads):
            key, shared = of(entry, head)
            alike.setdefault(key, ([], shared))[0].append(head)
        for key, (own, shared) in alike.items():
            found.setdefault((tuple(own), key), ([], shared))[0].append(entry)
    return [((tuple(own) if by_entry else None, heads_of), shared) for (heads_of, _), (own, shared) in found.items()]
