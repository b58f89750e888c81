"""Batch invariance: the results of a batch entry are the same, bit for bit, alone and in every batch.

PyTorch's products of matrices are cut for threads by the size of the batch, and so are long rows for the processors of
a GPU. Each entry is therefore computed as if it were alone, by calls whose sizes depend on nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from attncc.frontend.patterns import Pattern
from attncc.frontend.scores import Score
from attncc.frontend.sequences import BatchEntry
from attncc.ir.symbols import B
from attncc.runtime.call import Result


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
