"""Plans: what will run for a pattern and a shape, and what it was chosen over. Pure data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from attncc._util.display import Displayed
from attncc.frontend.patterns import Pattern
from attncc.ir.symbols import B, H
from attncc.planner import explain
from attncc.planner.cost import HEAD_DIM
from attncc.planner.dense import DenseBaseline, beside
from attncc.planner.listing import ListedKeys
from attncc.planner.listing import groups as groups_of
from attncc.planner.notes import notes
from attncc.planner.passes import Group, Pass
from attncc.planner.shape import Shape
from attncc.targets import target as find_target

_BOUND_THERE = (
    "The tables lie on a device. The triton backend binds them there, one pass for each clause, and doesn't follow "
    "this plan."
)


@dataclass(eq=False, repr=False)  # not frozen, since one is made for each step of decoding
class Plan(Displayed):
    """How a pattern runs at a shape: groups of heads, their passes, and the alternatives that lost.

    Attributes:
        pattern: The pattern.
        shape: The shape.
        block_m: Queries of a tile.
        block_n: Keys of a tile.
        target: The name of the target that it is for.
        laid_out: The groups; empty where a single query's keys are listed.
        listed: These keys, of which groups are made when they are asked for.
    """

    pattern: Pattern
    shape: Shape
    block_m: int
    block_n: int
    target: str
    laid_out: tuple[Group, ...] = ()
    listed: ListedKeys | None = None

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """Groups of heads, with their passes."""
        if self.listed is None:
            return self.laid_out
        return groups_of(self.listed.lists, self.pattern, self.shape, self.tile, find_target(self.target))

    @property
    def mask_shape(self) -> tuple[int, ...]:
        """Size of the dense mask: batch and heads count only where the pattern depends on them."""
        free, shape = self.pattern.template.predicate.free, self.shape
        leading = ((shape.batch,) if B in free else ()) + ((shape.heads,) if H in free else ())
        return (*leading, shape.q_len, shape.kv_len)

    @property
    def tile(self) -> tuple[int, int]:
        """(block_m, block_n)."""
        return self.block_m, self.block_n

    def preferring(self, way: str) -> Plan:
        """Return the plan that runs the alternatives of this name, where a group has one."""
        if self.listed is not None or all(len(group.alternatives) == 1 for group in self.laid_out):
            return self
        return replace(self, laid_out=tuple(group.preferring(way) for group in self.laid_out))

    @property
    def size(self) -> int:
        """Positions and entries of tables that it stands for: what it takes to keep it grows with them."""
        return self.shape.q_len + self.shape.kv_len + sum(math.prod(table.shape) for table in self.pattern.looked_up)

    def members(self, group: Group) -> int:
        """Number of leading entries of the dense mask that a group stands for."""
        batches = 1 if group.batches is None else len(group.batches)
        return batches * (1 if group.heads is None else len(group.heads))

    @cached_property
    def nnz(self) -> int:
        """Exact number of True entries of `attncc.dense_mask` at this shape."""
        return sum(group.nnz * self.members(group) for group in self.groups)

    @property
    def cheap_nnz(self) -> int | None:
        """`nnz` if it has been counted, or key ranges alone say it; None where pairs or entries would be looked at."""
        is_cheap = "nnz" in vars(self) or all(work.residual is None for work in self.all_passes())
        return self.nnz if is_cheap else None

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

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What is legal, and may not be what was meant: tables with more entries than the lengths have positions.

        Of tables on a device, too, that a call there may run otherwise.
        """
        found = notes(self.pattern.predicate, self.shape)
        return found if self.pattern.device is None else (*found, _BOUND_THERE)

    def all_passes(self) -> Sequence[Pass]:
        """Return the passes of all groups."""
        return [p for group in self.groups for p in group.passes]

    @cached_property
    def dense(self) -> DenseBaseline:
        """Dense attention beside the plan, by prediction: whether the pattern pays."""
        return beside(self.pattern.predicate, self.shape, self.mask_shape, self.groups, find_target(self.target))

    def explain(self) -> str:
        """Return the plan as text: passes, layouts, tiles, counts, the alternatives that lost, and if it pays."""
        shape = self.shape
        lines = [
            f"{self.pattern!r}: {shape.q_len:,} queries x {shape.kv_len:,} keys, tiles {self.block_m} x {self.block_n}",
            f"{self.nnz:,} edges, density {self.density:.3%}",
        ]
        noted = [f"note: {note}" for note in self.notes]
        return "\n".join([*lines, *noted, *explain.lines(self.groups), *explain.beside(self.dense)])

    def describe(self) -> dict[str, object]:
        """Return the plan as JSON-able data."""
        shape = self.shape
        return {
            "pattern": repr(self.pattern),
            "key": self.pattern.key,
            "q_len": shape.q_len,
            "kv_len": shape.kv_len,
            "q_offset": shape.q_offset,
            "heads": shape.heads,
            "batch": shape.batch,
            "tile": list(self.tile),
            "target": self.target,
            "edges": self.nnz,
            "density": self.density,
            "notes": list(self.notes),
            "head_dim": HEAD_DIM,
            "flops": self.flops(HEAD_DIM),
            "bytes": self.bytes(HEAD_DIM),
            "groups": explain.described(self.groups),
            "dense": self.dense.describe(),
        }

    def __repr__(self) -> str:
        shape = self.shape
        ways = ", ".join(dict.fromkeys(group.alternatives[0].name for group in self.groups))
        edges = "" if self.cheap_nnz is None else f"{self.cheap_nnz:,} edges, "
        return (
            f"<plan of {self.pattern!r}: {shape.q_len:,} queries x {shape.kv_len:,} keys, {edges}"
            f"{self.block_m} x {self.block_n} tiles, {ways}, {len(self.all_passes())} pass(es) for {self.target}>"
        )

    def __str__(self) -> str:
        return self.explain()
