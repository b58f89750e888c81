"""Lowered plans: the launches of a plan for tensors of given sizes on a device, each phase when it is first needed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from attncc.backends.binding.programs import DeviceBinding
from attncc.backends.device import placed
from attncc.backends.triton.config import Blocks
from attncc.backends.triton.grouped import grouped
from attncc.backends.triton.launch import Launch, Phase
from attncc.backends.triton.lower import Lowering
from attncc.backends.triton.pack_gqa import GridHeads
from attncc.backends.triton.spec import Spec
from attncc.ir.tables import Array
from attncc.planner.directions import check_direction
from attncc.planner.passes import Pass
from attncc.planner.plan import Plan
from attncc.planner.shape import Shape

#: Rows of a program of the delta kernel, its warps and stages; it has no tiles of keys.
DELTA = Blocks(16, 16, 4, 1)

#: Lowers one pass: Lowering.forward, .query_gradient or .key_gradient.
Lower = Callable[..., Iterator[Launch]]


class HasShape(Protocol):
    """What is lowered: a plan, or a prepared pattern."""

    @property
    def shape(self) -> Shape: ...


@dataclass(frozen=True, eq=False)
class LoweredPhases(ABC):
    """Launches for (B, Hq, Nq, D) queries on (B, Hkv, Nk, D) keys."""

    plan: HasShape
    lowering: Lowering
    batch: int
    heads: int
    kv_heads: int
    device: torch.device
    _resident: dict[int, tuple[Array, Tensor]] = field(default_factory=dict, repr=False)

    def launches(self, direction: str) -> Iterator[Launch]:
        """Yield the launches of a direction in their order; raises ConfigError."""
        for phase in self.phases(direction):
            yield from phase.launches

    def phases(self, direction: str) -> Iterator[Phase]:
        """Yield the phases of a direction in their order; raises ConfigError.

        Args:
            direction: `forward`, or `backward`, here without a gradient of lse.
        """
        check_direction(direction)
        if direction == "forward":
            yield self.forward
        else:
            yield self.delta
            yield from self.gradients

    @cached_property
    def forward(self) -> Phase:
        """The forward kernels; their rows are queries."""
        writes = ("O", "LSE") if self.lowering.score is None else ("O", "LSE", "Remainder")
        return self._phase("forward", writes, whole_heads=True)

    @cached_property
    def gradients(self) -> tuple[Phase, ...]:
        """The phases of the backward after `delta`."""
        return (self.key_gradient,) if self.atomic else (self.query_gradient, self.key_gradient)

    @cached_property
    def query_gradient(self) -> Phase:
        """The dQ kernels; their rows are queries."""
        return self._phase("query_gradient", ("DQ",), whole_heads=True)

    @cached_property
    def key_gradient(self) -> Phase:
        """The dK and dV kernels; their rows are keys, which groups of query heads may share."""
        own_keys = self.heads == self.kv_heads
        return self._phase("key_gradient", ("DK", "DV"), whole_heads=own_keys)

    @cached_property
    def delta(self) -> Phase:
        """The launch that prepares the backward, once for each query head."""
        return self._delta(grad_lse=False)

    @cached_property
    def delta_with_lse(self) -> Phase:
        """The same where lse has a gradient, too."""
        return self._delta(grad_lse=True)

    @property
    def numbers(self) -> dict[str, int]:
        """The numbers that all kernels have in common, by argument name."""
        lengths = {"q_len": self.plan.shape.q_len, "kv_len": self.plan.shape.kv_len}
        return {"num_heads": self.heads, "qheads_per_kvhead": self.lowering.shape.group_size, **lengths}

    @cached_property
    def atomic(self) -> bool:
        """Whether the key-gradient kernels add up dQ."""
        return self.lowering.config.atomic

    def _delta(self, *, grad_lse: bool) -> Phase:
        shape, heads = self.lowering.shape, GridHeads(self.batch * self.heads, self.batch * self.kv_heads)
        remainder = self.lowering.score is not None
        spec = Spec("delta", grad_lse=grad_lse, remainder=remainder, **shape.chunking)
        count = -(-self.plan.shape.q_len // DELTA.block_m)
        return Phase((Launch(spec, shape, DELTA, heads, count, {}, {}, {}),), ())

    @abstractmethod
    def _phase(self, kernel: str, writes: tuple[str, ...], *, whole_heads: bool) -> Phase:
        """Return the launches of a kernel; `whole_heads`: no two groups of heads write to the same rows."""

    def operands(self, binding: DeviceBinding, launch: Launch) -> Mapping[str, Tensor]:
        """Return the tensors of a launch that a binding has, by argument name."""
        return {}

    def _placed(self, launch: Launch, *, accumulated: bool) -> Launch:
        arrays = {name: self._tensor(array) for name, array in launch.arrays.items()}
        return replace(launch, arrays=arrays, accumulated=accumulated)

    def _tensor(self, array: Array) -> Tensor:
        """Return an array on the device; launches of a pass share it."""
        if id(array) not in self._resident:
            # The array is kept, too: its id must not become another one's.
            self._resident[id(array)] = array, placed(array, self.device)
        return self._resident[id(array)][1]


@dataclass(frozen=True, eq=False)
class LoweredPlan(LoweredPhases):
    """A plan's launches."""

    plan: Plan

    def _phase(self, kernel: str, writes: tuple[str, ...], *, whole_heads: bool) -> Phase:
        lower: Lower = getattr(self.lowering, kernel)
        covers = _covers_keys if kernel == "key_gradient" else _covers_queries
        groups: list[list[Launch]] = []
        covered = once = True
        for group in self.plan.groups:
            passes = sorted(group.passes, key=covers, reverse=True)
            heads = self._heads[id(group)]
            groups.append([])
            opens = bool(passes) and covers(passes[0]) and (whole_heads or heads.listed is None)
            for number, work in enumerate(passes):
                groups[-1] += lower(work, heads, opens=opens and number == 0)
            covered = covered and opens and (kernel != "key_gradient" or self._reaches_all_keys(passes[0]))
            once = once and opens and len(passes) == 1
        launches = tuple(self._placed(launch, accumulated=not once) for launch in grouped(groups))
        return Phase(launches, writes, covered, once)

    def _reaches_all_keys(self, work: Pass) -> bool:
        """Return whether a pass is planned for as many keys as the tensors have: sequences apart have fewer."""
        return work.cols.length == self.plan.shape.kv_len

    @cached_property
    def _heads(self) -> dict[int, GridHeads]:
        sizes = self.batch, self.heads, self.kv_heads
        return {id(group): GridHeads.of(group.batches, group.heads, *sizes) for group in self.plan.groups}


def _covers_queries(work: Pass) -> bool:
    return work.rows.size == work.rows.length


def _covers_keys(work: Pass) -> bool:
    return work.cols.size == work.cols.length
