"""What a kernel is generated from: everything that is printed into it, and nothing that it gets at launch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from attncc.backends.triton.printer import TritonPrinter, named_tables
from attncc.ir.predicate import Predicate
from attncc.ir.tables import TableData

#: Kernels by name: what each computes, as the header of the generated module says it.
KERNELS = {
    "forward": "out and lse of query tiles: an online softmax over their runs of key tiles",
    "query_gradient": "dQ of query tiles, over their runs of key tiles",
    "key_gradient": "dK and dV of key tiles, over their runs of query tiles",
    "delta": "delta = rowsum(dO * O) - d_lse, and lse in base 2, +inf for queries without keys",
    "merge": "out and lse of query tiles that were split into several items, merged by log-sum-exp",
    "add": "gradients of tiles that were split into several items, added up",
}

#: Strides of (batch, head, row); the last dimension is contiguous.
_STRIDES = {
    "forward": ("query", "key", "value", "out"),
    "query_gradient": ("query", "key", "value", "grad", "d_query"),
    "key_gradient": ("query", "key", "value", "grad", "d_key", "d_value"),
    "delta": ("out", "grad"),
    "merge": ("out",),
    "add": ("out",),
}
_POINTERS = {
    "forward": ("query", "key", "value", "out", "lse", "items", "runs"),
    "query_gradient": ("query", "key", "value", "grad", "lse", "delta", "d_query", "items", "runs"),
    "key_gradient": ("query", "key", "value", "grad", "lse", "delta", "d_key", "d_value", "items", "runs"),
    "delta": ("out", "grad", "lse", "grad_lse", "delta", "log_2_sum"),
    "merge": ("out_parts", "lse_parts", "out", "lse", "tiles"),
    "add": ("parts", "out", "tiles"),
}
_NUMBERS = {
    "forward": ("heads", "group", "q_len", "rows", "cols", "q_offset", "start_shift", "stop_shift", "scale"),
    "query_gradient": ("heads", "group", "q_len", "rows", "cols", "q_offset", "start_shift", "stop_shift", "scale"),
    "key_gradient": ("heads", "group", "q_len", "rows", "cols", "q_offset", "start_shift", "stop_shift", "scale"),
    "delta": ("heads", "q_len"),
    "merge": ("heads", "q_len", "rows", "parts_count"),
    "add": ("heads", "rows", "parts_count"),
}
_CONSTANTS = {
    "forward": ("HEAD_DIM", "VALUE_DIM", "BLOCK_D", "BLOCK_V", "BLOCK_M", "BLOCK_N", "PRECISION"),
    "query_gradient": ("HEAD_DIM", "VALUE_DIM", "BLOCK_D", "BLOCK_V", "BLOCK_M", "BLOCK_N", "PRECISION"),
    "key_gradient": ("HEAD_DIM", "VALUE_DIM", "BLOCK_D", "BLOCK_V", "BLOCK_M", "BLOCK_N", "PRECISION"),
    "delta": ("VALUE_DIM", "BLOCK_V", "BLOCK_M"),
    "merge": ("VALUE_DIM", "BLOCK_V", "BLOCK_M"),
    "add": ("HEAD_DIM", "BLOCK_D", "BLOCK_M"),
}


@dataclass(frozen=True)
class Spec:
    """One kernel of one pass.

    sets: the pass's pairs in mathematical notation, for the header.
    start, stop: how the edges of the staircase come, see attncc.backends.triton.edges.
    residual: what a partial tile has to check beside the edges; `wide` says that it needs 64-bit arithmetic.
    gather_rows, gather_cols: slots are not positions; these are read from an array.
    members: heads are picked from a list of (batch entry * heads + query head).
    continues: earlier results are read and added to. split: results go to a workspace, one part an item.
    padded_head, padded_value: the head size is not a power of two.
    """

    kernel: str
    sets: str = ""
    start: str = "open"
    stop: str = "open"
    residual: Predicate | None = None
    wide: bool = False
    gather_rows: bool = False
    gather_cols: bool = False
    members: bool = False
    continues: bool = False
    split: bool = False
    padded_head: bool = False
    padded_value: bool = False
    grad_lse: bool = False

    @cached_property
    def tables(self) -> tuple[tuple[str, TableData], ...]:
        """(argument name, table) of the tables that the residual reads."""
        return named_tables(self.residual)

    @property
    def condition(self) -> str:
        """The residual as Triton source over `i` and `j`; empty if there is none."""
        if self.residual is None:
            return ""
        return TritonPrinter({table.digest: name for name, table in self.tables}).predicate(self.residual)

    @property
    def pointers(self) -> tuple[str, ...]:
        """Names of the arguments that are tensors."""
        optional = {
            "grad_lse": self.grad_lse,
            "members": self.members,
            "row_positions": self.gather_rows,
            "col_positions": self.gather_cols,
            "start_slots": self.start == "stored",
            "stop_slots": self.stop == "stored",
        }
        always = tuple(name for name in _POINTERS[self.kernel] if optional.pop(name, True))
        return (*always, *(name for name, used in optional.items() if used), *(name for name, _ in self.tables))

    @property
    def strides(self) -> tuple[str, ...]:
        """Names of the arguments that are strides, in elements."""
        return tuple(f"{name}_{axis}" for name in _STRIDES[self.kernel] for axis in ("b", "h", "n"))

    @property
    def numbers(self) -> tuple[str, ...]:
        """Names of the arguments that are other numbers."""
        return _NUMBERS[self.kernel]

    @property
    def constants(self) -> tuple[str, ...]:
        """Names of the compile-time constants."""
        return _CONSTANTS[self.kernel]

    @property
    def arguments(self) -> tuple[str, ...]:
        """Names of all arguments, in their order."""
        return (*self.pointers, *self.strides, *self.numbers, *self.constants)
