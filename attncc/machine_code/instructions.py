"""Instructions of a kernel, the kinds that they are counted by, and what is common to the instruction sets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What an instruction is counted as; each kind keeps one part of a multiprocessor busy."""

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
    """One instruction: `goes_on` says whether the next one may follow it, `target` where it may jump.

    flops: of a matrix product, what one warp's instruction does, None where the text doesn't say.
    shared_bytes: what a warp moves to or from shared memory. loaded_bytes: what it loads from global memory; commits:
    it ends a group of copies that run on their own; pending: it waits until so many groups are left.
    """

    address: int
    text: str
    kind: Kind
    target: int | None = None
    goes_on: bool = True
    flops: float | None = 0.0
    shared_bytes: int = 0
    loaded_bytes: int = 0
    commits: bool = False
    pending: int | None = None


@dataclass(frozen=True)
class Mix:
    """Instructions of a stretch of code by kind, the FLOP of its matrix products, the bytes of its shared memory.

    loaded_bytes: what a warp loads from global memory, where the text says so. lead: how many passes of a loop lie
    between such loads and the wait for them, 0 for those that are used at once.
    """

    counts: dict[Kind, int]
    tensor_flops: float | None
    shared_bytes: int
    loaded_bytes: int = 0
    lead: float = 0.0

    @property
    def total(self) -> int:
        """All instructions."""
        return sum(self.counts.values())

    def count(self, *kinds: Kind) -> int:
        """Return how many instructions are of these kinds."""
        return sum(self.counts.get(kind, 0) for kind in kinds)

    @property
    def predicate(self) -> int:
        """Comparisons and selections: what a predicate adds to a loop."""
        return self.count(Kind.COMPARE, Kind.SELECT)


def mix(instructions: Iterable[Instruction]) -> Mix:
    """Count instructions, each once however often it runs."""
    found = list(instructions)
    flops = [i.flops for i in found]
    known = sum(f for f in flops if f is not None)
    counts = Counter(i.kind for i in found)
    return Mix(
        {kind: counts[kind] for kind in Kind if counts[kind]},
        None if None in flops else known,
        sum(i.shared_bytes for i in found),
        sum(i.loaded_bytes for i in found),
        _lead(found),
    )


def _lead(loop: Sequence[Instruction]) -> float:
    """Return the passes from copies to the wait for them: what it leaves pending, and its distance in the code."""
    groups = [at for at, i in enumerate(loop) if i.commits]
    waits = [(at, i.pending) for at, i in enumerate(loop) if i.pending is not None]
    if not groups or not waits:
        return 0.0
    last = groups[-1]
    return min(pending / len(groups) + (at - last) % len(loop) / len(loop) for at, pending in waits)
