"""The cost model of this backend on a CPU: what a schedule makes the library do, times what that costs on a target."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from functools import lru_cache, reduce

import numpy as np
import sympy

from attncc.backends.base import Inputs
from attncc.backends.torch.config import Items
from attncc.backends.torch.lower import Schedule, schedule
from attncc.backends.torch.slots import Slots
from attncc.backends.torch.work import Work
from attncc.errors import ConfigError
from attncc.ir.predicate import Predicate
from attncc.ir.symbols import I, J
from attncc.ir.tables import Read
from attncc.planner.plan import Group, Pass, Plan
from attncc.targets import Library, Target

#: Rows of a query block of the flash op, by the least rows of an item; and keys of a key block.
QUERY_BLOCKS = ((768, 256), (192, 64), (0, 32))
KEY_BLOCK = 512
#: Products of the rows of keys and of values with every score: Q K^T, dS K, dS^T Q; P V, P^T dO, dO V^T.
PRODUCTS = {"forward": 2, "backward": 5}
#: Integer operations that a division, a remainder or a look-up takes as long as.
SLOW = 4


def seconds(plan: Plan, inputs: Inputs, direction: str, items: Items, target: Target) -> float:
    """Return the predicted seconds of a direction of the plan; raises ConfigError where the target has no costs."""
    costs = target.library.get(direction)
    if costs is None:
        raise ConfigError(
            f"Target {target.name!r} has no costs of a library's {direction}.",
            rule="The torch backend is predicted for targets whose file has a [library] table.",
            fix="Predict for the target cpu, or measure.",
        )
    return price(counts(plan, inputs, direction, items), costs)


def price(found: Library, costs: Library) -> float:
    """Return the sum of what was counted, each times its cost."""
    return float(sum(getattr(found, each.name) * getattr(costs, each.name) for each in fields(Library)))


def counts(plan: Plan, inputs: Inputs, direction: str, items: Items) -> Library:
    """Return how much of every kind of work there is in a direction of the plan; see attncc.targets.Library."""
    return _sum(part for group in plan.groups for part in _of_group(group, plan, inputs, direction, items))


def _sum(parts: Iterable[Library]) -> Library:
    def add(a: Library, b: Library) -> Library:
        return Library(**{each.name: getattr(a, each.name) + getattr(b, each.name) for each in fields(Library)})

    return reduce(add, parts, Library())


def _of_group(group: Group, plan: Plan, inputs: Inputs, direction: str, items: Items) -> Iterable[Library]:
    batches = inputs.batch if group.batches is None else len(group.batches)
    leading = batches * (inputs.kv_heads if group.heads is None else len(group.heads))
    sharing = inputs.group if group.heads is None else 1
    for work in _scheduled(group.passes, plan.shape.q_len, replace(items, chunk=1)).works:
        yield _OfWork(work, leading, sharing, items.chunk, inputs, direction).counts()


@lru_cache(maxsize=128)
def _scheduled(passes: tuple[Pass, ...], q_len: int, items: Items) -> Schedule:
    return schedule(passes, q_len, items)


@dataclass(frozen=True)
class _OfWork:
    """Counts one work, on `leading` rows of folded tensors with `sharing` query heads each."""

    work: Work
    leading: int
    sharing: int
    chunk: int
    inputs: Inputs
    direction: str

    @property
    def row_bytes(self) -> int:
        """Bytes of a row of queries, keys, values or outputs, which are padded to one size."""
        return max(self.inputs.head_dim, self.inputs.value_dim) * self.inputs.itemsize

    @property
    def chunks(self) -> int:
        step = max(1, self.chunk // self.leading // max(1, self.work.scores))
        return -(-self.work.rows.items // step)

    def counts(self) -> Library:
        """Return the counts of all chunks of the work."""
        of = _forward_rows if self.direction == "forward" else _backward_rows
        return _sum([self._kernel(), self._mask(), *self._moves(of(self.work))])

    def _kernel(self) -> Library:
        """What the flash op does: heads that share keys are rows of one item, unless it is causal."""
        work, causal = self.work, self.work.causal
        heads, times = (1, self.sharing) if causal else (self.sharing, 1)
        scores, keys, blocks = _blocks(work.rows.length * heads, work.cols.length, causal)
        number = self.leading * work.rows.items * times
        return Library(
            products=number * scores * PRODUCTS[self.direction] * 2.0 * self.row_bytes / self.inputs.itemsize,
            operands=float(number * keys * self.row_bytes),
            scores=float(number * scores),
            blocks=float(number * blocks),
            added=float(number * scores if work.mask is not None else 0),
            calls=float(self.chunks * times),
        )

    def _mask(self) -> Library:
        """What masks cost that are made anew each time; a shared one is kept."""
        mask = self.work.mask
        if mask is None or mask.shared:
            return Library()
        pairs = float(self.work.rows.items * self.work.scores)
        evaluated = 0 if mask.residual is None else _operations(mask.residual)
        return Library(expanded=pairs * self.sharing, evaluated=pairs * evaluated)

    def _moves(self, moves: Iterable[tuple[Slots, str, int]]) -> Iterable[Library]:
        """What reading and writing rows costs, given (slots, kind, tensors of the query side or the key side)."""
        for slots, kind, tensors in moves:
            heads = self.sharing if slots is self.work.rows else 1
            moved = float(self.leading * heads * slots.items * slots.length * tensors * self.row_bytes)
            if slots.index is not None:
                yield Library(**{"gathered" if kind == "read" else "scattered": moved})
            else:
                yield Library(**{kind: moved} if kind != "read" else {}, apart=moved if slots.row_step > 1 else 0.0)


def _forward_rows(work: Work) -> Iterable[tuple[Slots, str, int]]:
    yield work.rows, "read", 1
    yield work.cols, "read", 2
    if not work.first:
        yield work.rows, "read", 1
    yield work.rows, "stored" if work.first else "merged", 1


def _backward_rows(work: Work) -> Iterable[tuple[Slots, str, int]]:
    yield work.rows, "read", 3
    yield work.cols, "read", 2
    yield work.rows, "stored" if work.first else "merged", 1
    yield work.cols, "merged", 2


@lru_cache(maxsize=4096)
def _blocks(rows: int, keys: int, causal: bool) -> tuple[int, int, int]:
    """Return what the flash op makes of an item: scores, keys read (for each query block), and pairs of blocks."""
    size = next(size for least, size in QUERY_BLOCKS if rows >= least)
    first = np.arange(0, rows, size)
    height = np.minimum(size, rows - first)
    seen = np.minimum(first + height, keys) if causal else np.full(len(first), keys)
    return int((height * seen).sum()), int(seen.sum()), int((-(-seen // KEY_BLOCK)).sum())


@lru_cache(maxsize=128)
def _operations(predicate: Predicate) -> int:
    """Return the integer operations that evaluating a predicate takes for a pair; what rows or keys alone need is free.
    """
    return sum(2 + _pairwise(atom.expr) for atom in predicate.atoms)


def _pairwise(expr: sympy.Expr) -> int:
    if not {I, J} <= expr.free_symbols:
        return 0
    own = SLOW if isinstance(expr, sympy.Mod | sympy.floor | Read) else max(1, len(expr.args) - 1)
    return own + sum(_pairwise(argument) for argument in expr.args)
