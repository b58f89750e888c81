"""Programs: a plan lowered for tensors of given sizes on a device, kernel by kernel when first needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from attncc.backends.device import placed
from attncc.backends.triton.config import Blocks
from attncc.backends.triton.launch import Launch, Work
from attncc.backends.triton.lower import Lowering
from attncc.backends.triton.members import Members
from attncc.backends.triton.spec import Spec
from attncc.ir.tables import Array
from attncc.planner.passes import Group, Pass
from attncc.planner.plan import Plan

#: Rows of a program of the delta kernel, its warps and stages; it has no tiles of keys.
DELTA = Blocks(16, 16, 4, 1)

#: Lowers one pass: Lowering.forward, .query_gradient or .key_gradient.
Lower = Callable[..., Work]


@dataclass(frozen=True, eq=False)
class Part:
    """One pass of one group of heads, ready to launch: its arrays are on the device."""

    work: Work
    members: Members

    def programs(self, launch: Launch) -> int:
        """Return the size of a launch's grid: its count for each member, of queries or of keys."""
        return launch.count * (self.members.keys if launch.spec.by_key_head else self.members.queries)


@dataclass(frozen=True, eq=False)
class Side:
    """All parts of one direction, in their order, and what they do to the tensors that they write.

    covers: every row is written by a part that doesn't read it before; otherwise results begin as those of no key.
    once: no row is written twice, so that results can be stored in the inputs' dtype.
    """

    parts: tuple[Part, ...]
    covers: bool
    once: bool


@dataclass(frozen=True, eq=False)
class Program:
    """A plan's launches for (B, Hq, Nq, D) queries on (B, Hkv, Nk, D) keys."""

    plan: Plan
    lowering: Lowering
    batch: int
    heads: int
    kv_heads: int
    device: torch.device
    _resident: dict[int, tuple[Array, Tensor]] = field(default_factory=dict, repr=False)

    @property
    def atomic(self) -> bool:
        """Whether the key-gradient kernels add up dQ."""
        return self.lowering.config.atomic

    @property
    def of_rows(self) -> tuple[str, ...]:
        """What the forward leaves of each query row beside its result: lse, and under a score its remainder."""
        return ("LSE",) if self.lowering.score is None else ("LSE", "Remainder")

    @cached_property
    def forward(self) -> Side:
        """The forward kernels; their rows are queries."""
        return self._side(self.lowering.forward, _covers_queries, whole_heads=True)

    @cached_property
    def query_gradient(self) -> Side:
        """The dQ kernels; their rows are queries."""
        return self._side(self.lowering.query_gradient, _covers_queries, whole_heads=True)

    @cached_property
    def key_gradient(self) -> Side:
        """The dK and dV kernels; their rows are keys, which groups of query heads may share."""
        return self._side(self.lowering.key_gradient, _covers_keys, whole_heads=self.heads == self.kv_heads)

    @cached_property
    def delta(self) -> Launch:
        """The launch that prepares the backward, once for each query head."""
        return self._delta(grad_lse=False)

    @cached_property
    def delta_with_lse(self) -> Launch:
        """The same where lse has a gradient, too."""
        return self._delta(grad_lse=True)

    def _delta(self, *, grad_lse: bool) -> Launch:
        sizes = self.lowering.sizes
        remainder = self.lowering.score is not None
        spec = Spec("delta", padded_value=sizes.padded_value, grad_lse=grad_lse, remainder=remainder)
        return Launch(spec, sizes, DELTA, -(-self.plan.shape.q_len // DELTA.block_m), {}, {})

    def _side(self, lower: Lower, covers: Callable[[Pass], bool], *, whole_heads: bool) -> Side:
        parts, covered, once = [], True, True
        for group in self.plan.groups:
            passes = sorted(group.passes, key=covers, reverse=True)
            members = self._members[id(group)]
            opens = bool(passes) and covers(passes[0]) and (whole_heads or members.listed is None)
            for number, work in enumerate(passes):
                lowered = lower(work, members, opens=opens and number == 0)
                parts.append(Part(self._on_device(lowered), members))
            covered = covered and opens
            once = once and opens and len(passes) == 1
        return Side(tuple(parts), covered, once)

    @cached_property
    def _members(self) -> dict[int, Members]:
        return {id(group): self._of(group) for group in self.plan.groups}

    def _of(self, group: Group) -> Members:
        return Members.of(group, self.batch, self.heads, self.kv_heads)

    def _on_device(self, work: Work) -> Work:
        return Work(self._placed(work.whole), self._placed(work.split), self._all_placed(work.joins))

    def _all_placed(self, launches: Sequence[Launch]) -> tuple[Launch, ...]:
        return tuple(placed for launch in launches if (placed := self._placed(launch)))

    def _placed(self, launch: Launch | None) -> Launch | None:
        if launch is None:
            return None
        return replace(launch, arrays={name: self._tensor(array) for name, array in launch.arrays.items()})

    def _tensor(self, array: Array) -> Tensor:
        """Return an array on the device; launches of a pass share it."""
        if id(array) not in self._resident:
            # The array is kept, too: its id must not become another one's.
            self._resident[id(array)] = array, placed(array, self.device)
        return self._resident[id(array)][1]


def _covers_queries(work: Pass) -> bool:
    return work.rows.size == work.rows.length


def _covers_keys(work: Pass) -> bool:
    return work.cols.size == work.cols.length
