"""Instructions of a kernel, and the kinds by which all instruction sets count them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum


class OpKind(StrEnum):
    """The kind that an instruction counts as; each keeps one part of a multiprocessor busy."""

    TENSOR = "tensor"  # matrix products
    SPECIAL = "special"  # exp2, log2, reciprocal
    FP32 = "fp32"  # add, multiply, fused multiply-add, packed halves too
    MINMAX = "minmax"  # floating-point minimum and maximum
    COMPARE = "compare"  # comparisons and logic on their results
    SELECT = "select"  # one of two values, by a predicate
    INTEGER = "integer"  # integer arithmetic, shifts and bit logic
    CONVERT = "convert"  # between number types
    SHUFFLE = "shuffle"  # between the lanes of a warp
    SHARED_LOAD = "shared load"
    SHARED_STORE = "shared store"
    GLOBAL_LOAD = "global load"  # copies from global to shared memory too
    GLOBAL_STORE = "global store"
    SPILL = "spill"  # to and from the stack
    SYNC = "sync"  # barriers, fences, waits
    BRANCH = "branch"
    UNIFORM = "uniform"  # once for a warp: the uniform or scalar unit
    MOVE = "move"
    OTHER = "other"


@dataclass(frozen=True)
class Instruction:
    """One instruction."""

    address: int
    text: str
    kind: OpKind
    target: int | None = None  # the address where it may jump
    goes_on: bool = True  # whether the next instruction may follow it
    flops: float | None = 0.0  # of one warp's matrix product, None where the text doesn't say
    shared_bytes: int = 0  # that a warp moves to or from shared memory
    loaded_bytes: int = 0  # that a warp loads from global memory
    commits: bool = False  # ends a group of copies that run on their own
    pending: int | None = None  # waits until at most this many groups are left


@dataclass(frozen=True)
class Mix:
    """Instructions of a stretch of code."""

    counts: dict[OpKind, int]  # by kind
    tensor_flops: float | None  # FLOP of the matrix products
    shared_bytes: int  # that go to or from shared memory
    loaded_bytes: int = 0  # that a warp loads from global memory, where the text says so
    lead: float = 0.0  # passes of a loop between such loads and the wait for them, 0 if used at once

    @property
    def total(self) -> int:
        """All instructions."""
        return sum(self.counts.values())

    def count(self, *kinds: OpKind) -> int:
        """Return how many instructions are of these kinds."""
        return sum(self.counts.get(kind, 0) for kind in kinds)

    @property
    def predicate(self) -> int:
        """Comparisons and selections, which a predicate adds to a loop."""
        return self.count(OpKind.COMPARE, OpKind.SELECT)


def mix(instructions: Iterable[Instruction]) -> Mix:
    """Count instructions, each once however often it runs."""
    listed = list(instructions)
    flops = [i.flops for i in listed]
    total = sum(f for f in flops if f is not None)
    counts = Counter(i.kind for i in listed)
    return Mix(
        {kind: counts[kind] for kind in OpKind if counts[kind]},
        None if None in flops else total,
        sum(i.shared_bytes for i in listed),
        sum(i.loaded_bytes for i in listed),
        _lead(listed),
    )


def _lead(loop: Sequence[Instruction]) -> float:
    """Return the passes from copies to the wait for them: groups left pending, and distance in the code."""
    groups = [at for at, i in enumerate(loop) if i.commits]
    waits = [(at, i.pending) for at, i in enumerate(loop) if i.pending is not None]
    if not groups or not waits:
        return 0.0
    last = groups[-1]
    return min(pending / len(groups) + (at - last) % len(loop) / len(loop) for at, pending in waits)
