"""Batch invariance: the results of a batch entry are the same, bit for bit, alone and in every batch.

PyTorch's products of matrices are cut for threads by the size of the batch, and so are long rows for the processors of
a GPU. Each entry is therefore planned as if it were alone, with tiles and parts of rows that depend on nothing else.
Generated kernels run the entries of a batch together: what a program sums up doesn't depend on the programs beside it.
Where libraries compute, each entry has a call of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from attncc import backends
from attncc.frontend.patterns import Pattern
from attncc.frontend.scores import Score
from attncc.frontend.sequences import BatchEntry, Sequences
from attncc.ir.symbols import B
from attncc.runtime.call import AttentionCall, Result
from attncc.runtime.eager import is_eager
from attncc.runtime.executables import backend_for


class BatchPart(NamedTuple):
    """Consecutive entries of a batch, and what is theirs of a call's arguments.

    Attributes:
        entries: Which ones.
        sequences: Their offsets and numbers of keys, both given.
        pattern, score: In the positions of a sequence.
        sink: As the call takes it.
    """

    entries: slice
    sequences: Sequences
    pattern: Pattern
    score: Score
    sink: Tensor | None

    def one_by_one(self) -> Iterator[BatchPart]:
        """Yield the parts of one entry each, of a part that is the whole batch."""
        batch, sink, score = len(self.sequences), self.sink, self.score
        has_entries = sink is not None and sink.ndim > 1 and len(sink) == batch
        for number in range(batch):
            entries, entry = slice(number, number + 1), BatchEntry(number)
            yield BatchPart(
                entries,
                self.sequences.entry(number),
                entry.pattern(self.pattern),
                entry.score(score) if B in score.expression.free else score,
                sink[entries] if sink is not None and has_entries else sink,
            )


def runs_together(query: Tensor, key: Tensor, value: Tensor, call: AttentionCall, pattern: Pattern) -> bool:
    """Return whether a call computes the entries of a batch together, each as if it were alone.

    Tables on a device are bound for the whole batch, and PyTorch's products give the greatest scores: with either, each
    entry has a call of its own.
    """
    if call.return_max_scores or not is_eager(query, key, value) or pattern.device is not None:
        return False
    return backends.get(backend_for(query, value, call.backend)).keeps_apart


def one_by_one(run: Callable[[BatchPart], Result], batch: BatchPart) -> Result:
    """Return the results of `run` on each entry of a batch that isn't empty, as those of the batch."""
    results = [run(part) for part in batch.one_by_one()]
    if isinstance(results[0], tuple):
        return tuple(map(torch.cat, zip(*results, strict=True)))
    return torch.cat([x for x in results if isinstance(x, Tensor)])
