"""Launches: kernels with everything they get that doesn't depend on the tensors' content."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from attncc.backends.triton.config import Blocks
from attncc.backends.triton.spec import Spec


@dataclass(frozen=True)
class Sizes:
    """What kernels are cut for: head sizes of keys and of values, bytes of an element, query heads a key head."""

    head_dim: int
    value_dim: int
    itemsize: int
    group: int

    @property
    def padded_head(self) -> bool:
        """Whether BLOCK_D is more than the head size."""
        return self.head_dim != width(self.head_dim)

    @property
    def padded_value(self) -> bool:
        """Whether BLOCK_DV is more than the value head size."""
        return self.value_dim != width(self.value_dim)


@dataclass(frozen=True, eq=False)
class Launch:
    """A kernel's launch: `count` programs for each member, `arrays` and `numbers` by argument name.

    The arrays are int32: numpy's as lowered, tensors once they are on a device.
    """

    spec: Spec
    sizes: Sizes
    blocks: Blocks
    count: int
    arrays: Mapping[str, Any]
    numbers: Mapping[str, int]

    def constants(self, precision: str) -> dict[str, int | str]:
        """Return the compile-time constants by name."""
        found: dict[str, int | str] = {
            "HEAD_DIM": self.sizes.head_dim,
            "VALUE_DIM": self.sizes.value_dim,
            "BLOCK_D": width(self.sizes.head_dim),
            "BLOCK_DV": width(self.sizes.value_dim),
            "BLOCK_M": self.blocks.block_m,
            "BLOCK_N": self.blocks.block_n,
            "PRECISION": precision,
        }
        return {name: found[name] for name in self.spec.constants}


@dataclass(frozen=True, eq=False)
class Work:
    """The launches that compute one pass in one direction.

    `whole` writes tiles that are one item each; `split` writes the parts of the others to a workspace, of which
    `joins` makes one result for each of the kernel's outputs.
    """

    whole: Launch | None
    split: Launch | None
    joins: tuple[Launch, ...]


def width(head_dim: int) -> int:
    """Return the power of two, at least 16, that a head size is padded to."""
    return max(16, power_of_two(head_dim))


def power_of_two(number: int) -> int:
    """Return the least power of two that is at least `number`, for numbers from 1."""
    return 1 << (number - 1).bit_length()
