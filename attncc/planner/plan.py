"""Plans: what will run for a pattern and a shape, and what it was chosen over. Pure data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from attncc.ir.predicate import Predicate
from attncc.patterns import Pattern
from attncc.planner import bisect, diagonals, tiles
from attncc.planner.axis import Axis
from attncc.planner.layout import Layout
from attncc.planner.shape import Shape
from attncc.planner.staircase import Staircase
from attncc.planner.tiles import Tiles

#: Tilings of a pass in other blocks than its plan's that are kept; each of the three kernels has blocks of its own.
TILINGS = 4


@dataclass(frozen=True, eq=False)
class Pass:
    """One part of the work: the pairs of `predicate`, in one layout, in blocks of (block_m, block_n).

    `predicate` is in the absolute query position i (row + q_offset) and key position j. Query slot r sees the
    key slots of `staircase`, as far as `residual` (None: always) holds for their positions.
    """

    predicate: Predicate
    layout: Layout
    q_offset: int
    block_m: int
    block_n: int

    @property
    def rows(self) -> Axis:
        """The query rows, in their order."""
        return self.layout.rows

    @property
    def cols(self) -> Axis:
        """The keys, in their order."""
        return self.layout.cols

    @property
    def staircase(self) -> Staircase:
        return self.layout.staircase

    @property
    def residual(self) -> Predicate | None:
        return self.layout.residual

    def tiled(self, block_m: int, block_n: int) -> Pass:
        """Return the pass in other blocks; a few are kept with their tiles: a search asks for them again and again."""
        if (block_m, block_n) == (self.block_m, self.block_n):
            return self
        found = self._tilings.get((block_m, block_n))
        if found is None:
            if len(self._tilings) >= TILINGS:
                self._tilings.clear()
            found = self._tilings[block_m, block_n] = replace(self, block_m=block_m, block_n=block_n)
        return found

    @cached_property
    def _tilings(self) -> dict[tuple[int, int], Pass]:
        return {}  # not an LRU cache: a backward lowers in a thread of autograd's, beside those of other devices

    @cached_property
    def hull(self) -> Tiles:
        """Runs that cover the staircase, whatever the residual."""
        return tiles.from_staircase(self.staircase, self.block_m, self.block_n)

    @cached_property
    def tiles(self) -> Tiles:
        """Runs of PARTIAL and FULL tiles."""
        if self.residual is None:
            return self.hull
        return bisect.bisect(self.layout, self.q_offset, self.block_m, self.block_n)

    @cached_property
    def nnz(self) -> int:
        """Exact number of pairs."""
        by_diagonals = diagonals.count(self.predicate, self.rows.length, self.cols.length, self.q_offset)
        if by_diagonals is not None:
            return by_diagonals
        if self.residual is None:
            return self.staircase.nnz
        return bisect.count(self.layout, self.q_offset, self.tiles)

    @property
    def is_looked_at(self) -> bool:
        """Whether counting its pairs takes a look at each pair of its PARTIAL tiles."""
        return self.residual is not None and not diagonals.applies(self.predicate)


@dataclass(frozen=True, eq=False)
class Alternative:
    """One way to run a predicate: disjoint passes and their predicted time in seconds.

    `note` says why there is no other way, where the predicate was too much to take apart.
    """

    name: str
    passes: tuple[Pass, ...]
    seconds: float
    note: str = ""


@dataclass(frozen=True, eq=False)
class Group:
    """Heads and batch entries that share a predicate (None: all of them), and the passes that compute it.

    The group covers every batch entry in `batches` with every head in `heads`. The first of `alternatives` is the one
    that runs: the cheapest by prediction, unless another was preferred.
    """

    batches: tuple[int, ...] | None
    heads: tuple[int, ...] | None
    alternatives: tuple[Alternative, ...]

    @property
    def passes(self) -> tuple[Pass, ...]:
        """Disjoint passes; empty where no pair is connected."""
        return self.alternatives[0].passes

    @cached_property
    def nnz(self) -> int:
        """Exact number of pairs of one head of one batch entry, counted in the layouts that count fastest."""
        fastest = min(self.alternatives, key=lambda way: sum(work.is_looked_at for work in way.passes))
        return sum(work.nnz for work in fastest.passes)

    def preferring(self, way: str) -> Group:
        """Return the group that runs the alternative of this name, if it has one."""
        return replace(self, alternatives=tuple(sorted(self.alternatives, key=lambda each: each.name != way)))

    @property
    def simplest(self) -> Alternative:
        """The alternative with the fewest passes that evaluate a residual."""
        return min(self.alternatives, key=lambda way: sum(work.residual is not None for work in way.passes))


@dataclass(frozen=True, eq=False)
class Plan:
    """How a pattern runs at a shape: groups of heads, their passes, and the alternatives that lost."""

    pattern: Pattern
    shape: Shape
    block_m: int
    block_n: int
    target: str
    groups: tuple[Group, ...]
    #: Size of the dense mask: batch and heads count only where the pattern depends on them.
    mask_shape: tuple[int, ...]

    @property
    def tile(self) -> tuple[int, int]:
        """(block_m, block_n)."""
        return self.block_m, self.block_n

    def preferring(self, way: str) -> Plan:
        """Return the plan that runs the alternatives of this name, where a group has one."""
        return replace(self, groups=tuple(group.preferring(way) for group in self.groups))

    def __reduce__(self) -> tuple[object, ...]:
        """A copy, in this process or another one, is planned anew, since staircases hold functions."""
        from attncc.planner.search import planned_again

        ways = tuple(group.alternatives[0].name for group in self.groups)
        return planned_again, (self.pattern, self.shape, self.tile, self.target, ways)

    @property
    def size(self) -> int:
        """Positions and entries of tables that it stands for: what it takes to keep it grows with them."""
        tables = sum(table.data.size for table in self.pattern.predicate.tables)
        return self.shape.q_len + self.shape.kv_len + tables

    def members(self, group: Group) -> int:
        """Number of leading entries of the dense mask that a group stands for."""
        batches = 1 if group.batches is None else len(group.batches)
        return batches * (1 if group.heads is None else len(group.heads))

    @cached_property
    def nnz(self) -> int:
        """Exact number of True entries of `attncc.dense_mask` at this shape."""
        return sum(group.nnz * self.members(group) for group in self.groups)

    @property
    def density(self) -> float:
        """Fraction of all pairs that is connected."""
        total = math.prod(self.mask_shape)
        return self.nnz / total if total else 0.0

    @property
    def pairs(self) -> int:
        """Connected pairs over all heads and batch entries of the shape."""
        return self.nnz * (self.shape.batch * self.shape.heads // math.prod(self.mask_shape[:-2]))

    def flops(self, head_dim: int, value_dim: int | None = None) -> int:
        """Useful floating-point operations of the forward pass, over all heads and batch entries."""
        return 2 * self.pairs * (head_dim + (value_dim or head_dim))

    def bytes(self, head_dim: int, itemsize: int = 4) -> int:
        """Least memory traffic of the forward pass: Q, K, V and the output once, lse in float32."""
        shape = self.shape
        rows = 2 * shape.q_len + 2 * shape.kv_len
        return shape.batch * shape.heads * (rows * head_dim * itemsize + 4 * shape.q_len)

    def all_passes(self) -> Sequence[Pass]:
        """Return the passes of all groups."""
        return [p for group in self.groups for p in group.passes]

    def explain(self) -> str:
        """Return the plan as text: passes, layouts, tiles, counts, and the alternatives that lost."""
        from attncc.planner.explain import explain

        return explain(self)

    def describe(self) -> dict[str, object]:
        """Return the plan as JSON-able data."""
        from attncc.planner.explain import describe

        return describe(self)

    def __str__(self) -> str:
        return self.explain()
