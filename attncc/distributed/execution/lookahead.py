"""Planning ahead: while an attention is in use, the one for the next pattern is made in another thread."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from attncc.distributed.execution.operator import DistributedAttention
from attncc.frontend.patterns import Pattern, PatternFactory


def ahead(op: DistributedAttention, patterns: Iterable[Pattern | PatternFactory]) -> Iterator[DistributedAttention]:
    """Yield `op.replanned(pattern)` for each pattern, the next of which is planned while the caller uses this one.

    One pattern is taken ahead, no more, in a thread that ends with the iterator, which also takes them from
    `patterns`. What taking and planning raise is raised to the caller in its turn. Exchanges stay in the caller's
    thread: all ranks take the same patterns, and call each attention in step.
    """
    source = iter(patterns)

    def following() -> DistributedAttention | None:
        pattern = next(source, None)
        return None if pattern is None else op.replanned(pattern)

    with ThreadPoolExecutor(1, "attncc-ahead") as pool:
        coming = pool.submit(following)
        while (found := coming.result()) is not None:
            coming = pool.submit(following)
            yield found
