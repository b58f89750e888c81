"""Supersteps of baselines: rings of key blocks, swaps of sequence for heads, and gathering."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from attncc.backends.inputs import Inputs
from attncc.distributed.schedules.traffic import Flow, Superstep, nothing
from attncc.ir.tables import Array


@dataclass(frozen=True, eq=False)
class Hybrid:
    """Parts of the sequence in a ring, the heads of each part divided among `heads` neighbouring ranks.

    Rank i * heads + j holds block[that] of the tokens, which belongs to part i. It computes all queries of part i for
    share j of the heads. heads=1 is a plain ring, heads = all ranks is Ulysses. pairs: between the queries of block r
    and the keys of block s, (ranks, ranks), over all heads and batch entries; heads are taken to be alike. tokens: of
    each block.
    """

    inputs: Inputs
    heads: int
    block: Array
    pairs: Array
    tokens: Array

    @property
    def ranks(self) -> int:
        """Number of ranks."""
        return len(self.block)

    @property
    def parts(self) -> int:
        """Number of parts of the sequence."""
        return self.ranks // self.heads

    def forward(self) -> list[Superstep]:
        """Return the steps: swap, compute each block of keys while the next arrives, and swap back."""
        inputs = self.inputs
        there = self._queries(inputs.head_dim) + self._keys() * inputs.itemsize
        key = self._keys() * inputs.itemsize
        ring = [
            Superstep(*self._work(k), self._onward(k, key) if k < self.parts - 1 else nothing(), self._rings)
            for k in range(self.parts)
        ]
        return self._between_swaps(there, ring, self._queries(inputs.value_dim))

    def backward(self) -> list[Superstep]:
        """Return the steps: blocks of keys go round once more, and the sums of their gradients follow, one behind.

        Sums are in the accumulation type while they travel round; what is swapped back is in the type of the inputs.
        """
        inputs, last = self.inputs, self.parts - 1
        key, sums = self._keys() * inputs.itemsize, self._keys() * max(4, inputs.itemsize)
        ring = []
        for k in range(self.parts + 1 if last else 1):
            flows = [self._onward(k, key)] if k < last else []
            flows += [self._onward(k - 1, sums)] if k else []
            flow = Flow.together(flows).summed(self.ranks)
            ring.append(Superstep(*self._work(k) if k <= last else self._idle(), flow, self._rings))
        return self._between_swaps(self._queries(inputs.value_dim), ring, self._queries(inputs.head_dim) + key)

    def _queries(self, width: int) -> Array:
        """Return the bytes of a token's query heads of each share, int64 (heads,), for rows of `width` elements."""
        row = self.inputs.batch * (self.inputs.heads // self.heads) * width * self.inputs.itemsize
        return np.full(self.heads, row)

    def _keys(self) -> Array:
        """Return the elements of a token's keys and values that each share of the heads needs, int64 (heads,)."""
        share = self.inputs.heads // self.heads
        first = np.arange(self.heads) * share
        needed = (first + share - 1) // self.inputs.group - first // self.inputs.group + 1
        return needed * self.inputs.batch * (self.inputs.head_dim + self.inputs.value_dim)

    def _between_swaps(self, there: Array, ring: list[Superstep], back: Array) -> list[Superstep]:
        """Put the swaps around a ring: a token's `there` bytes of each share go to its rank, `back` bytes return."""
        if self.heads == 1:
            return ring
        rank = np.arange(self.ranks)
        owner, other = np.repeat(rank, self.heads - 1), np.arange(self.ranks * (self.heads - 1)) % (self.heads - 1)
        share = other + (other >= owner % self.heads)
        computes = owner - owner % self.heads + share
        size = self.tokens[self.block[owner]]
        swapped = Flow(owner, computes, size * there[share])
        returned = Flow(computes, owner, size * back[share])
        parts = rank // self.heads
        return [Superstep(*self._idle(), swapped, parts), *ring, Superstep(*self._idle(), returned, parts)]

    @property
    def _rings(self) -> Array:
        """The ring of each rank: that of its share of the heads."""
        return np.arange(self.ranks) % self.heads

    def _onward(self, after: int, row: Array) -> Flow:
        """Return the flow to the next part of the keys that a part has after `after` rounds; `row` by share."""
        rank = np.arange(self.ranks)
        size = self.tokens[self.block].reshape(self.parts, self.heads).sum(1)
        held = size[(rank // self.heads - after) % self.parts]
        return Flow(rank, (rank + self.heads) % self.ranks, held * row[rank % self.heads])

    def _work(self, after: int) -> tuple[Array, Array]:
        """Return pairs and tasks of each rank on the keys that it has after `after` rounds."""
        part = np.arange(self.parts)
        work = np.repeat(self._between[part, (part - after) % self.parts] / self.heads, self.heads)
        return work, (work > 0).astype(np.int64)

    @cached_property
    def _between(self) -> Array:
        """Pairs between the queries of each part and the keys of each, float64 (parts, parts)."""
        found: Array = self.pairs[np.ix_(self.block, self.block)].reshape((self.parts, self.heads) * 2).sum((1, 3))
        return found

    def _idle(self) -> tuple[Array, Array]:
        return np.zeros(self.ranks), np.zeros(self.ranks, np.int64)


@dataclass(frozen=True, eq=False)
class AllGather:
    """Keys of all ranks gathered by each: first within a rank's column, then in its row what that column has.

    Attributes:
        row, column: Of each rank, int64 (ranks,). With all ranks in one column, each in a row of its own, all is
            gathered at once.
        pairs, tokens: As for Hybrid, block r at rank r.
    """

    inputs: Inputs
    row: Array
    column: Array
    pairs: Array
    tokens: Array

    def forward(self) -> list[Superstep]:
        """Return the steps: a rank's own keys are computed while others arrive."""
        first, second = self._flows(self._elements * self.inputs.itemsize)
        own, near, far = self._work()
        return [_step(own, first, self.column), _step(near, second, self.row), _step(far, nothing())]

    def backward(self) -> list[Superstep]:
        """Return the steps: the gradients of others' keys are computed first, and their sums go back while own are."""
        first, second = self._flows(self._elements * max(4, self.inputs.itemsize))
        own, near, far = self._work()
        back = [(each.reversed(), of) for each, of in ((second, self.row), (first, self.column)) if len(each.bytes)]
        late = [own, *[np.zeros_like(own)] * (len(back) - 1)]
        undone = [_step(work, *each) for work, each in zip(late, back or [(nothing(), self.column)], strict=True)]
        return [_step(near + far, nothing()), *undone]

    @property
    def _elements(self) -> int:
        inputs = self.inputs
        return inputs.batch * inputs.kv_heads * (inputs.head_dim + inputs.value_dim)

    def _flows(self, row: int) -> tuple[Flow, Flow]:
        """Return what travels in columns, and then in rows, where each rank passes on its column's tokens."""
        columns = self.column[:, None] == self.column
        held = columns @ self.tokens
        return self._all_pairs(columns, self.tokens * row), self._all_pairs(self.row[:, None] == self.row, held * row)

    def _all_pairs(self, pairs: Array, size: Array) -> Flow:
        """Return the flow of `size` bytes from each rank to all others where `pairs` holds."""
        source, target = np.nonzero(pairs & ~np.eye(len(size), dtype=bool))
        return Flow(source, target, size[source])

    def _work(self) -> tuple[Array, Array, Array]:
        """Return the pairs of each rank with its own keys, with those of its column, and with the others."""
        columns = self.column[:, None] == self.column
        others = columns & ~np.eye(len(columns), dtype=bool)
        return np.diagonal(self.pairs), (self.pairs * others).sum(1), (self.pairs * ~columns).sum(1)


def _step(work: Array, flow: Flow, group: Array | None = None) -> Superstep:
    return Superstep(work, (work > 0).astype(np.int64), flow, group)
