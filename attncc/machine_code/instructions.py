"""Instructions of a kernel, the kinds that they are counted by, and what is common to the instruction sets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
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
    shared_bytes: what a warp moves to or from shared memory.
    """

    address: int
    text: str
    kind: Kind
    target: int | None = None
    goes_on: bool = True
    flops: float | None = 0.0
    shared_bytes: int = 0


@dataclass(frozen=True)
class Mix:
    """Instructions of a stretch of code by kind, the FLOP of its matrix products, the bytes of its shared memory."""

    counts: dict[Kind, int]
    tensor_flops: float | None
    shared_bytes: int

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
    )
