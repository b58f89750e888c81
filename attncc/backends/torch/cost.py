"""The cost model on a CPU: counts of the library's work in a schedule, times their costs on a target."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np

from attncc.backends.inputs import Inputs
from attncc.backends.torch.batch_shape import BatchShape, RowAccess, batch_shapes
from attncc.backends.torch.config import Tiling
from attncc.backends.torch.tile_batch import COPIED
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


def seconds(plan: Plan, inputs: Inputs, direction: str, tiling: Tiling, target: Target) -> float:
    """Return the predicted seconds of a direction of the plan; raises ConfigError where the target has no costs."""
    if target.library is None:
        raise ConfigError(
            f"Target {target.name!r} has no costs of a tensor library.",
            rule="The torch backend is predicted for targets whose file has a [library] table.",
            fix="Predict for the target cpu, or measure.",
        )
    found = counts(plan, inputs, direction, tiling, target.library.cache)
    return price(found, target.library.forward if direction == "forward" else target.library.backward)


def price(found: Costs, costs: Costs) -> float:
    """Return the sum of counts times costs, in seconds."""
    return float(sum(getattr(found, kind) * getattr(costs, kind) for kind in KINDS))


def counts(plan: Plan, inputs: Inputs, direction: str, tiling: Tiling, cache: float) -> Costs:
    """Return the amount of every kind of work in a direction of the plan; see attncc.targets.Costs."""
    total = dict.fromkeys(KINDS, 0.0)
    for group in plan.groups:
        leading, sharing = _members(group, inputs)
        for shape in batch_shapes(group.passes, plan.shape.q_len, tiling):
            for kind, number in _Counter(shape, leading, sharing, tiling.chunk, cache, inputs, direction).counts():
                total[kind] += number
    return Costs(**total)


def _members(group: Group, inputs: Inputs) -> tuple[int, int]:
    """Return the leading size of folded tensors, and the query heads that share keys, as Selection folds them."""
    batches = inputs.batch if group.batches is None else len(group.batches)
    return (batches * inputs.kv_heads, inputs.group) if group.heads is None else (batches * len(group.heads), 1)


@dataclass(frozen=True)
class _Counter:
    """Counts one tile batch, on `leading` rows of folded tensors with `sharing` query heads each."""

    shape: BatchShape
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
        return self.shape.rows.length * self.shape.cols.length

    def counts(self) -> Iterator[Count]:
        """Yield the counts of all chunks of the batch."""
        yield from self._kernel()
        if self.shape.masked_by_item:
            pairs = float(self.shape.items * self.pairs)
            yield "converted", pairs * self.sharing
            if not self.shape.mask_is_kept:
                yield "expanded", pairs
                yield "evaluated", pairs * self.shape.operations
        yield "spilled", self._spilled()
        yield from self._forward_rows() if self.direction == "forward" else self._backward_rows()

    def _kernel(self) -> Iterator[Count]:
        """What the flash op does: heads that share keys are rows of one item, unless it is causal."""
        shape = self.shape
        heads, times = (1, self.sharing) if shape.causal else (self.sharing, 1)
        scores = _scores(shape.rows.length * heads, shape.cols.length, shape.causal)
        number = self.leading * shape.items * times
        yield "products", number * scores * PRODUCTS[self.direction] * 2.0 * self.size
        yield "scores", float(number * scores)
        yield "calls", float(-(-shape.items // self._step) * times)

    @property
    def _step(self) -> int:
        """Items of a chunk."""
        chunk = self.chunk // (COPIED if self.shape.cols.gathered else 1)
        return min(self.shape.items, max(1, chunk // self.leading // self.pairs))

    def _spilled(self) -> float:
        """Bytes of results that leave the caches before they are read again; larger chunks spill more."""
        total = self._bytes(self.shape.rows, 1, self.sharing)
        if self.direction == "backward":
            total += self._bytes(self.shape.cols, 2, 1)
        return total * max(0.0, 1 - self.cache * self.shape.items / (total * self._step))

    def _forward_rows(self) -> Iterator[Count]:
        """Queries, keys and values are read; outputs are stored, or read and merged."""
        rows, cols = self.shape.rows, self.shape.cols
        yield from self._read(rows, 1 if self.shape.first else 2, self.sharing)
        yield from self._read(cols, 2, 1)
        yield from self._written(rows, "stored" if self.shape.first else "merged", 1, self.sharing)

    def _backward_rows(self) -> Iterator[Count]:
        """Queries, outputs and their gradients, keys and values are read; gradients are stored or added."""
        rows, cols = self.shape.rows, self.shape.cols
        yield from self._read(rows, 3, self.sharing)
        yield from self._read(cols, 2, 1)
        yield from self._written(rows, "stored" if self.shape.first else "merged", 1, self.sharing)
        yield from self._written(cols, "merged", 2, 1)

    def _read(self, rows: RowAccess, tensors: int, heads: int) -> Iterable[Count]:
        moved = self._bytes(rows, tensors, heads)
        return (("gathered", moved if rows.gathered else 0.0), ("apart", moved if rows.apart else 0.0))

    def _written(self, rows: RowAccess, kind: str, tensors: int, heads: int) -> Iterable[Count]:
        moved = self._bytes(rows, tensors, heads)
        return ((kind, moved), ("scattered", moved if rows.gathered else 0.0))

    def _bytes(self, rows: RowAccess, tensors: int, heads: int) -> float:
        return float(self.leading * heads * self.shape.items * rows.length * tensors * self.size * self.inputs.itemsize)


@lru_cache(maxsize=4096)
def _scores(rows: int, keys: int, causal: bool) -> int:
    """Return the scores of an item that the flash op computes: a causal one stops after each block of query rows."""
    if not causal:
        return rows * keys
    size = next(size for least, size in QUERY_BLOCKS if rows >= least)
    first = np.arange(0, rows, size)
    height = np.minimum(size, rows - first)
    return int((height * np.minimum(first + height, keys)).sum())
