"""Launches: kernels with all arguments that don't depend on the tensors' content, and the phases that they make up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

from attncc.backends.head_chunks import chunks, padded
from attncc.backends.triton.config import Blocks
from attncc.backends.triton.pack_gqa import GridHeads
from attncc.backends.triton.spec import Spec


class HeadChunking(TypedDict):
    """The fields of a Spec that say how rows are cut into chunks."""

    head_chunks: int
    value_chunks: int
    padded_head: bool
    padded_value: bool


@dataclass(frozen=True)
class HeadShape:
    """The sizes that kernels are generated for."""

    head_dim: int  # elements of a row of queries and keys
    value_dim: int  # elements of a row of values
    itemsize: int  # bytes of an element
    group_size: int  # query heads that share a key head
    widest: int = 512  # columns of the largest chunk of a head

    @property
    def head_chunks(self) -> tuple[int, ...]:
        """The columns of each chunk of queries and keys."""
        return chunks(self.head_dim, self.widest)

    @property
    def value_chunks(self) -> tuple[int, ...]:
        """The columns of each chunk of values."""
        return chunks(self.value_dim, self.widest)

    @property
    def chunking(self) -> HeadChunking:
        """How kernels cut heads into chunks."""
        return {
            "head_chunks": len(self.head_chunks),
            "value_chunks": len(self.value_chunks),
            "padded_head": self.head_dim != padded(self.head_dim),
            "padded_value": self.value_dim != padded(self.value_dim),
        }


@dataclass(frozen=True, eq=False)
class Launch:
    """A kernel on a grid of `count` programs for each of its heads."""

    spec: Spec
    shape: HeadShape
    blocks: Blocks
    heads: GridHeads
    count: int
    arrays: Mapping[str, Any]  # int32, by argument name: numpy's as lowered, tensors once they are on a device
    numbers: Mapping[str, int]  # by argument name
    writes: Mapping[str, str]  # results of the phase by the argument that takes them: {"O": "O"}, {"Grad": "DK"}
    accumulated: bool = False  # other launches add to the same rows: results stay in float32

    @property
    def grid_heads(self) -> int:
        """Heads that the grid counts: key heads or query heads, of all batch entries."""
        return self.heads.counted(by_kv_head=self.spec.by_kv_head)

    @property
    def programs(self) -> int:
        """The size of the grid."""
        return self.count * self.grid_heads

    @property
    def tile_rows(self) -> int:
        """Rows of the tile that a program holds."""
        return self.blocks.block_n if self.spec.holds_keys else self.blocks.block_m

    def constants(self, precision: str) -> dict[str, int | str]:
        """Return the compile-time constants by name."""
        constants: dict[str, int | str] = {
            "HEAD_DIM": self.shape.head_dim,
            "VALUE_DIM": self.shape.value_dim,
            "BLOCK_M": self.blocks.block_m,
            "BLOCK_N": self.blocks.block_n,
            "PRECISION": precision,
        }
        for of_head, sizes in ((self.spec.head, self.shape.head_chunks), (self.spec.value, self.shape.value_chunks)):
            constants |= {chunk.block: size for chunk, size in zip(of_head, sizes, strict=True)}
        return {name: constants[name] for name in self.spec.constants}


@dataclass(frozen=True, eq=False)
class Phase:
    """The launches of one kernel over all passes, in their order, with those that put split tiles together."""

    launches: tuple[Launch, ...]
    writes: tuple[str, ...]  # the results, by the names that Launch.writes has for them
    covers: bool = True  # each row is written by a launch that doesn't read it first; else results begin as of no key
    once: bool = True  # no row is written twice: results have the inputs' dtype
