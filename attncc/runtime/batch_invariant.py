"""Batch invariance: the results of a batch entry are the same, bit for bit, alone and in every batch.

PyTorch's products of matrices are cut for threads by the size of the batch, and so are long rows for the processors of
a GPU. Each entry is therefore planned as if it were alone, with tiles and parts of rows that depend on nothing else.
Generated kernels run the entries of a batch together: what a program sums up doesn't depend on the programs beside it.
Where libraries compute, each entry has a call of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from attncc import backends
from attncc.frontend.patterns import Pattern
from attncc.frontend.scores import Score
from attncc.frontend.sequences import BatchEntry
from attncc.ir.symbols import B
from attncc.runtime.call import Result
from attncc.runtime.eager import is_eager
from attncc.runtime.executables import backend_for


class EntryArguments(NamedTuple):
    """What a call on one batch entry takes: the entry, as a slice of the batch, and what is its own.

    Attributes:
        part: The entry.
        pattern, score, sink: As the call on the batch has them, for this entry.
    """

    part: slice
    pattern: Pattern
    score: Score
    sink: Tensor | None


def run_together(query: Tensor, key: Tensor, value: Tensor, pattern: Pattern, backend: str | None) -> bool:
    """Return whether a call computes the entries of a batch together, each as if it were alone.

    Tables on a device are bound for the whole batch, and entries with such tables have calls of their own.
    """
    if not is_eager(query, key, value) or pattern.device is not None:
        return False
    return backends.get(backend_for(query, value, backend or "")).keeps_apart


def one_by_one(batch: int, pattern: Pattern, score: Score, sink: Tensor | None) -> Iterator[EntryArguments]:
    """Yield the arguments of each batch entry of a call."""
    of_entries = sink is not None and sink.ndim > 1 and len(sink) == batch
    for number in range(batch):
        part, entry = slice(number, number + 1), BatchEntry(number)
        own_score = entry.score(score) if B in score.expression.free else score
        yield EntryArguments(
            part, entry.pattern(pattern), own_score, sink[part] if sink is not None and of_entries else sink
        )


def joined(results: Sequence[Result]) -> Result:
    """Return the results of batch entries, at least one, as those of their batch."""
    if isinstance(results[0], tuple):
        return tuple(map(torch.cat, zip(*results, strict=True)))
    return torch.cat([x for x in results if isinstance(x, Tensor)])
