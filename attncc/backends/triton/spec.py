"""What a kernel is generated from: everything that is printed into it, and nothing that it gets at launch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from attncc.backends.triton import reads
from attncc.backends.triton.printer import TritonPrinter, named_tables
from attncc.backends.triton.scores import PrintedScore, ScorePrinter, WeightsGradient, printed
from attncc.ir.predicate import Predicate
from attncc.ir.score import ScoreExpression
from attncc.ir.symbols import NK
from attncc.ir.tables import TableData


@dataclass(frozen=True)
class Outline:
    """What all forms of a kernel have in common.

    purpose: what it computes, as the header of the generated module says it. tensors: arguments that come with the
    strides of (batch, head, row); their last dimension is contiguous. arrays: other pointers. numbers: integers,
    and `scale`. constants: compile-time constants.
    """

    purpose: str
    tensors: tuple[str, ...]
    arrays: tuple[str, ...]
    numbers: tuple[str, ...]
    constants: tuple[str, ...]


_HEADS = ("programs_per_head", "num_heads", "qheads_per_kvhead")
_OF_PASS = (*_HEADS, "q_len", "rows", "cols", "q_offset", "start_shift", "stop_shift", "scale")
_OF_TILE = ("HEAD_DIM", "VALUE_DIM", "BLOCK_D", "BLOCK_DV", "BLOCK_M", "BLOCK_N", "PRECISION")

KERNELS = {
    "forward": Outline(
        "o and lse of query tiles: an online softmax over their runs of key tiles",
        ("Q", "K", "V", "O"),
        ("LSE", "Remainder", "items", "runs"),
        _OF_PASS,
        _OF_TILE,
    ),
    "query_gradient": Outline(
        "dQ of query tiles, over their runs of key tiles",
        ("Q", "K", "V", "DO", "DQ"),
        ("LSE", "Remainder", "Delta", "items", "runs"),
        _OF_PASS,
        _OF_TILE,
    ),
    "key_gradient": Outline(
        "dK and dV of key tiles, over their runs of query tiles",
        ("Q", "K", "V", "DO", "DQ", "DK", "DV"),
        ("LSE", "Remainder", "Delta", "items", "runs"),
        _OF_PASS,
        _OF_TILE,
    ),
    "delta": Outline(
        "delta = rowsum(dO * O) - d_lse, and lse (in base 2 where there is no score), +inf for queries without keys",
        ("O", "DO"),
        ("LSE", "DLSE", "Delta", "LSE_log2", "LSE_natural"),
        ("programs_per_head", "num_heads", "q_len"),
        ("VALUE_DIM", "BLOCK_DV", "BLOCK_M"),
    ),
    "merge": Outline(
        "o and lse of query tiles that were split into several items, merged by log-sum-exp",
        ("O",),
        ("O_parts", "LSE_parts", "Remainder_parts", "LSE", "Remainder", "split_tiles"),
        (*_HEADS, "q_len", "rows", "parts_per_head"),
        ("VALUE_DIM", "BLOCK_DV", "BLOCK_M"),
    ),
    "add": Outline(
        "gradients of tiles that were split into several items, added up",
        ("Grad",),
        ("Grad_parts", "split_tiles"),
        (*_HEADS, "rows", "parts_per_head"),
        ("HEAD_DIM", "BLOCK_D", "BLOCK_M"),
    ),
}


def strides_of(tensor: str) -> tuple[str, str, str]:
    """Return the arguments that are a tensor's strides of batch entries, heads and rows: stride_qz, _qh, _qm of Q."""
    short = {"Grad": "g"}.get(tensor, tensor.lower())
    row = "n" if tensor in ("K", "V", "DK", "DV") else "m"
    return f"stride_{short}z", f"stride_{short}h", f"stride_{short}{row}"


@dataclass(frozen=True)
class Spec:
    """One kernel of one pass.

    sets: the pass's pairs in mathematical notation, for the header.
    start, stop: how the edges of the key ranges come, see attncc.backends.triton.edges.
    residual: what a partial tile has to check beside the edges; `wide` says that it needs 64-bit arithmetic.
    signed: query positions may be negative.
    far: offsets of rows from the first one of their head can leave 32 bits.
    gather_rows, gather_cols: slots are not positions; these are read from an array.
    members: heads are picked from a list of (batch entry * heads + query head).
    packed: one tile holds the rows of all its heads that share a key head.
    continues: earlier results are read and added to. split: results go to a workspace, one part an item.
    padded_head, padded_value: the head size is not a power of two.
    grad_lse: lse has a gradient, too. atomic: dQ and weights' gradients are added up along the way, with atomics.
    of_keys: the tiles are of keys, not of queries.
    score: what takes the score's place (None: nothing does). weighted: its weights' gradients are wanted.
    remainder: lse comes with what its rounding has left off, as under a score; see attncc.backends.logsum.
    unpipelined: loops that read tables by pairs of positions don't load ahead.
    """

    kernel: str
    sets: str = ""
    start: str = "open"
    stop: str = "open"
    residual: Predicate | None = None
    wide: bool = False
    signed: bool = False
    far: bool = False
    gather_rows: bool = False
    gather_cols: bool = False
    members: bool = False
    packed: bool = False
    continues: bool = False
    split: bool = False
    padded_head: bool = False
    padded_value: bool = False
    grad_lse: bool = False
    atomic: bool = False
    of_keys: bool = False
    score: ScoreExpression | None = None
    weighted: bool = False
    remainder: bool = False
    unpipelined: bool = False

    @cached_property
    def tables(self) -> tuple[tuple[str, TableData], ...]:
        """(argument name, table) of the tables that the residual and the score read."""
        of_residual = self.residual.tables if self.residual else frozenset()
        return named_tables(of_residual | (self.score.tables if self.score else frozenset()))

    @property
    def condition(self) -> str:
        """The residual as Triton source over `i` and `j`; empty if there is none."""
        return "" if self.residual is None else TritonPrinter(self.tables, signed=self.signed).predicate(self.residual)

    @cached_property
    def printed(self) -> PrintedScore | None:
        """The score as Triton source."""
        return None if self.score is None else printed(self.score, ScorePrinter(self.tables, signed=self.signed))

    @cached_property
    def gradients(self) -> tuple[WeightsGradient, ...]:
        """What the kernel sums for the gradients of weights; with `atomic`, it adds them up there and then."""
        if self.printed is None or not self.weighted:
            return ()
        return tuple(each for each in self.printed.gradients if self.atomic or each.kernel == self.kernel)

    @property
    def sums(self) -> tuple[WeightsGradient, ...]:
        """The gradients of weights of which each program leaves sums of its own: see attncc.backends.triton.sums."""
        return () if self.atomic else self.gradients

    @property
    def in_order(self) -> bool:
        """Whether slots follow one another as positions do, so that i - j is the same along a tile's diagonal."""
        return not (self.gather_rows or self.gather_cols)

    def loads_ahead(self, *, partial: bool) -> bool:
        """Return whether the loop over full or over partial tiles may be pipelined."""
        by_pairs = reads.in_score(self.score, packed=self.packed) or (partial and reads.in_predicate(self.residual))
        return not (self.unpipelined and by_pairs)

    @property
    def index(self) -> str:
        """Triton's type of positions in the residual."""
        return "tl.int64" if self.wide else "tl.int32"

    @property
    def offset(self) -> str:
        """Triton's type of the offsets of rows in the inner loops."""
        return "tl.int64" if self.far else "tl.int32"

    @property
    def by_key_head(self) -> bool:
        """Whether its members are key heads, not query heads."""
        return self.packed or self.of_keys or self.kernel == "key_gradient"

    @property
    def outline(self) -> Outline:
        return KERNELS[self.kernel]

    @cached_property
    def tensors(self) -> tuple[str, ...]:
        """Names of the arguments that are tensors with strides of (batch, head, row)."""
        left_out = {"DQ"} if self.kernel == "key_gradient" and not self.atomic else set()
        return tuple(name for name in self.outline.tensors if name not in left_out)

    @cached_property
    def pointers(self) -> tuple[str, ...]:
        """Names of all arguments in memory: tensors, arrays, tables."""
        wanted = {
            "DLSE": self.grad_lse,
            "Remainder": self.remainder,
            "Remainder_parts": self.remainder,
            "LSE_natural": self.remainder,
            "LSE_log2": not self.remainder,
        }
        arrays = tuple(name for name in self.outline.arrays if wanted.get(name, True))
        optional = {
            "part_numbers": self.split,
            "head_subset": self.members,
            "kv_groups": self.members and self.by_key_head,
            "row_positions": self.gather_rows,
            "col_positions": self.gather_cols,
            "start_slots": self.start == "stored",
            "stop_slots": self.stop == "stored",
        }
        used = tuple(name for name, there in optional.items() if there)
        tables = (name for name, _ in self.tables)
        return (*self.tensors, *arrays, *used, *tables, *self.weights, *self.sum_arrays)

    @cached_property
    def weights(self) -> tuple[str, ...]:
        """Names of the arguments that are the score's weights, and their gradients."""
        slots = sorted({lookup.weights.slot for lookup in self.score.lookups}) if self.score else []
        kinds = ("weights", "d_weights") if self.weighted and self.atomic else ("weights",)
        return tuple(f"{kind}_{slot}" for kind in kinds for slot in slots)

    @cached_property
    def sum_arrays(self) -> tuple[str, ...]:
        """Names of the arguments that take sums for the gradients of weights, and the places of these."""
        return tuple(f"{kind}_{each.number}" for each in self.sums for kind in ("sums", "places"))

    @property
    def lse_of_gradients(self) -> str:
        """The argument of the delta kernel that takes lse in the gradient kernels' units: natural under a score."""
        return "LSE_natural" if self.remainder else "LSE_log2"

    @cached_property
    def strides(self) -> tuple[str, ...]:
        """Names of the arguments that are strides, in elements."""
        return tuple(stride for name in self.tensors for stride in strides_of(name))

    @property
    def numbers(self) -> tuple[str, ...]:
        """Names of the arguments that are other numbers."""
        optional = {
            "kv_len": self.score is not None and NK in self.score.free,
            "first_program": bool(self.sums),
            "group_size": self.packed,
        }
        return (*self.outline.numbers, *(name for name, wanted in optional.items() if wanted))

    @property
    def constants(self) -> tuple[str, ...]:
        """Names of the compile-time constants."""
        return self.outline.constants

    @cached_property
    def arguments(self) -> tuple[str, ...]:
        """Names of all arguments, in their order."""
        return (*self.pointers, *self.strides, *self.numbers, *self.constants)
