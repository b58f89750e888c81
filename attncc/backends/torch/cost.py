"""The cost model of this backend on a CPU: what a schedule makes the library do, times what that costs on a target."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np

from attncc.backends.inputs import Inputs
from attncc.backends.torch.config import Items
from attncc.backends.torch.outline import Outline, Rows, outlines
from attncc.errors import ConfigError
from attncc.planner.passes import Group
from attncc.planner.plan import Plan
from attncc.targets import Costs, Target

#: Rows of a query block of the flash op, by the least rows of an item.
QUERY_BLOCKS = ((768, 256), (192, 64), (0, 32))
#: Products of the rows of keys and of values with every score: Q K^T, dS K, dS^T Q; P V, P^T dO, dO V^T.
PRODUCTS = {"forward": 2, "backward": 5}
#: Names of the kinds of work.
KINDS = tuple(each.name for each in fields(Costs))

#: (kind of work, number of its units)
Count = tuple[str, float]


def seconds(plan: Plan, inputs: Inputs, direction: str, items: Items, target: Target) -> float:
    """Return the predicted seconds of a direction of the plan; raises ConfigError where the target has no costs."""
    if target.library is None:
        raise ConfigError(
            f"Target {target.name!r} has no costs of a tensor library.",
            rule="The torch backend is predicted for targets whose file has a [library] table.",
            fix="Predict for the target cpu, or measure.",
        )
    found = counts(plan, inputs, direction, items, target.library.cache)
    return price(found, target.library.forward if direction == "forward" else target.library.backward)


def price(found: Costs, costs: Costs) -> float:
    """Return the sum of what was counted, each times its cost."""
    return float(sum(getattr(found, kind) * getattr(costs, kind) for kind in KINDS))


def counts(plan: Plan, inputs: Inputs, direction: str, items: Items, cache: float) -> Costs:
    """Return how much of every kind of work there is in a direction of the plan; see attncc.targets.Costs."""
    total = dict.fromkeys(KINDS, 0.0)
    for group in plan.groups:
        leading, sharing = _members(group, inputs)
        for outline in outlines(group.passes, plan.shape.q_len, items):
            for kind, number in _Counter(outline, leading, sharing, items.chunk, cache, inputs, direction).counts():
                total[kind] += number
    return Costs(**total)


def _members(group: Group, inputs: Inputs) -> tuple[int, int]:
    """Return the rows of the folded tensors, and the query heads of each that share its keys, as Selection has them."""
    batches = inputs.batch if group.batches is None else len(group.batches)
    return (batches * inputs.kv_heads, inputs.group) if group.heads is None else (batches * len(group.heads), 1)


@dataclass(frozen=True)
class _Counter:
    """Counts one work, on `leading` rows of folded tensors with `sharing` query heads each."""

    work: Outline
    leading: int
    sharing: int
    chunk: int
    cache: float
    inputs: Inputs
    direction: str

    @property
    def size(self) -> int:
        """Elements of a row of queries, keys, values or outputs, which are padded to one size."""
        return max(self.inputs.head_dim, self.inputs.value_dim)

    @property
    def pairs(self) -> int:
        """Pairs of an item, for one head."""
        return self.work.rows.length * self.work.cols.length

    def counts(self) -> Iterator[Count]:
        """Yield the counts of all chunks of the work."""
        yield from self._kernel()
        if self.work.made:
            pairs = float(self.work.items * self.pairs)
            yield "converted", pairs * self.sharing
            if not self.work.kept:
                yield "expanded", pairs
                yield "evaluated", pairs * self.work.operations
        yield "spilled", self._spilled()
        yield from self._forward_rows() if self.direction == "forward" else self._backward_rows()

    def _kernel(self) -> Iterator[Count]:
        """What the flash op does: heads that share keys are rows of one item, unless it is causal."""
        work = self.work
        heads, times = (1, self.sharing) if work.causal else (self.sharing, 1)
        scores = _scores(work.rows.length * heads, work.cols.length, work.causal)
        number = self.leading * work.items * times
        yield "products", number * scores * PRODUCTS[self.direction] * 2.0 * self.size
        yield "scores", float(number * scores)
        yield "calls", float(-(-work.items // self._step) * times)

    @property
    def _step(self) -> int:
        """Items of a chunk."""
        return min(self.work.items, max(1, self.chunk // self.leading // self.pairs))

    def _spilled(self) -> float:
        """Bytes of results that leave the caches before they are read again: the more of them the larger a chunk."""
        total = self._bytes(self.work.rows, 1, self.sharing)
        if self.direction == "backward":
            total += self._bytes(self.work.cols, 2, 1)
        return total * max(0.0, 1 - self.cache * self.work.items / (total * self._step))

    def _forward_rows(self) -> Iterator[Count]:
        """Queries, keys and values are read; outputs are stored, or read and merged."""
        rows, cols = self.work.rows, self.work.cols
        yield from self._read(rows, 1 if self.work.first else 2, self.sharing)
        yield from self._read(cols, 2, 1)
        yield from self._written(rows, "stored" if self.work.first else "merged", 1, self.sharing)

    def _backward_rows(self) -> Iterator[Count]:
        """Queries, outputs and their gradients, keys and values are read; gradients are stored or added."""
        rows, cols = self.work.rows, self.work.cols
        yield from self._read(rows, 3, self.sharing)
        yield from self._read(cols, 2, 1)
        yield from self._written(rows, "stored" if self.work.first else "merged", 1, self.sharing)
        yield from self._written(cols, "merged", 2, 1)

    def _read(self, rows: Rows, tensors: int, heads: int) -> Iterable[Count]:
        moved = self._bytes(rows, tensors, heads)
        return (("gathered", moved if rows.gathered else 0.0), ("apart", moved if rows.apart else 0.0))

    def _written(self, rows: Rows, kind: str, tensors: int, heads: int) -> Iterable[Count]:
        moved = self._bytes(rows, tensors, heads)
        return ((kind, moved), ("scattered", moved if rows.gathered else 0.0))

    def _bytes(self, rows: Rows, tensors: int, heads: int) -> float:
        return float(self.leading * heads * self.work.items * rows.length * tensors * self.size * self.inputs.itemsize)


@lru_cache(maxsize=4096)
def _scores(rows: int, keys: int, causal: bool) -> int:
    """Return the scores of an item that the flash op computes: a causal one stops after each block of query rows."""
    if not causal:
        return rows * keys
    size = next(size for least, size in QUERY_BLOCKS if rows >= least)
    first = np.arange(0, rows, size)
    height = np.minimum(size, rows - first)
    return int((height * np.minimum(first + height, keys)).sum())
