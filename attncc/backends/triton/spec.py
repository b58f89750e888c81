"""Specs: everything that is printed into a kernel, and nothing that it gets at launch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import sympy

from attncc.backends.triton.printer import TritonPrinter, named_tables
from attncc.backends.triton.scores import PrintedScore, ScorePrinter, WeightsGradient, printed
from attncc.backends.triton.signature import SIGNATURES, Signature, strides_of
from attncc.ir.functions import Lookup
from attncc.ir.lists import IsMember
from attncc.ir.predicate import Predicate
from attncc.ir.score import ScoreExpression
from attncc.ir.symbols import NK, H, I, J
from attncc.ir.tables import Read, TableData

#: Numbers and arrays that describe the layout of a pass, which groups of heads differ in.
OF_GROUP = {"rows", "cols", "q_offset", "start_shift", "stop_shift", "group_size"}
ARRAYS_OF_GROUP = {"row_positions", "col_positions", "key_positions", "lifted", "start_slots", "stop_slots"}


@dataclass(frozen=True)
class Chunk:
    """Some of the columns of a head's rows, as many as a power of two, which a kernel holds in tiles of their own."""

    suffix: str  # of the names of its tiles: none, or the number of a later chunk
    columns: str  # name of the vector of its columns
    block: str  # name of the constant that is their number
    before: str  # the sum of the constants of the chunks before it
    size: str  # name of the constant that is the head size
    padded: bool  # it has more columns than the head has left for it


@dataclass(frozen=True)
class Spec:
    """One kernel of one pass."""

    kernel: str  # a name in SIGNATURES
    sets: str = ""  # the pass's pairs in mathematical notation, for the header
    start: str = "open"  # how the first key of each query comes: the kind of a KeyBound
    stop: str = "open"  # the same of the first key beyond
    residual: Predicate | None = None  # the predicate that a partial tile checks beside the key ranges
    lifted: tuple[str, ...] = ()  # names of numbers in the residual that come at launch; see lifting
    wide: bool = False  # the residual or an index needs 64-bit arithmetic
    signed: bool = False  # query positions may be negative
    far: bool = False  # offsets of rows from the first one of their head can leave 32 bits
    gather_rows: bool = False  # positions of query slots are read from an array
    gather_cols: bool = False  # the same of key slots
    paged: bool = False  # these are rows in pages, and an array of their own has the positions
    grouped: bool = False  # programs are of several groups of heads, with numbers and arrays of their own; see grouped
    head_subset: bool = False  # heads are picked from a list of (batch entry * heads + query head)
    packed: bool = False  # a tile holds the rows of several query heads that share a key head
    continues: bool = False  # earlier results are read and added to
    split: bool = False  # results go to a workspace, one part an item
    head_chunks: int = 1  # chunks that a row of queries and keys is cut into
    value_chunks: int = 1  # the same of values
    padded_head: bool = False  # the chunks have more columns than the head
    padded_value: bool = False  # the same of values' heads
    grad_lse: bool = False  # lse has a gradient
    atomic: bool = False  # dQ and weights' gradients are added up along the way, with atomics
    of_keys: bool = False  # the rows of an `add` kernel are keys
    latent: bool = False  # values are the first columns of their keys, and one tile serves as both
    score: ScoreExpression | None = None  # stands in the place of the scores
    weighted: bool = False  # the gradients of its weights are wanted
    remainder: bool = False  # lse comes with the remainder of its rounding, as under a score; see LogSum
    unpipelined: bool = False  # loops that read tables by pairs of positions don't load ahead

    @cached_property
    def tables(self) -> tuple[tuple[str, TableData], ...]:
        """(argument name, table) of the tables that the residual and the score read."""
        of_residual = self.residual.tables if self.residual else frozenset()
        return named_tables(of_residual | (self.score.tables if self.score else frozenset()))

    @property
    def condition(self) -> str:
        """The residual as Triton source over `i` and `j`; empty if there is none."""
        return "" if self.residual is None else self._printer.predicate(self.residual)

    @property
    def _printer(self) -> TritonPrinter:
        return TritonPrinter(self.tables, signed=self.signed, wide=self.wide)

    @cached_property
    def printed(self) -> PrintedScore | None:
        """The score as Triton source."""
        return (
            None
            if self.score is None
            else printed(self.score, ScorePrinter(self.tables, signed=self.signed, wide=self.wide))
        )

    @property
    def seeks(self) -> bool:
        """Whether the residual or the score asks for a membership, so that the module has a search of lists."""
        score = [self.score.expr] if self.score else []
        predicates = [*(self.score.predicates if self.score else ()), *([self.residual] if self.residual else [])]
        return any(expr.has(IsMember) for expr in (*score, *(atom.expr for each in predicates for atom in each.atoms)))

    @cached_property
    def gradients(self) -> tuple[WeightsGradient, ...]:
        """The gradients of weights that the kernel sums; with `atomic`, it adds them up at once."""
        if self.printed is None or not self.weighted:
            return ()
        return tuple(each for each in self.printed.gradients if self.atomic or each.kernel == self.kernel)

    @cached_property
    def sums(self) -> tuple[WeightsGradient, ...]:
        """The gradients of weights of which each program leaves sums of its own; see weight_sums."""
        return () if self.atomic else self.gradients

    @cached_property
    def head(self) -> tuple[Chunk, ...]:
        """The chunks of queries and keys."""
        return _chunks("offs_d", "BLOCK_D", "HEAD_DIM", self.head_chunks, self.padded_head)

    @cached_property
    def value(self) -> tuple[Chunk, ...]:
        """The chunks of values."""
        return _chunks("offs_dv", "BLOCK_DV", "VALUE_DIM", self.value_chunks, self.padded_value)

    @cached_property
    def constants(self) -> tuple[str, ...]:
        """Names of the compile-time constants, those of later chunks last."""
        later = (chunk for chunk in self.head[1:] + self.value[1:] if chunk.size in self.signature.constants)
        return (*self.signature.constants, *(chunk.block for chunk in later))

    @property
    def in_order(self) -> bool:
        """Whether slots follow one another as positions do, so that i - j is the same along a tile's diagonal."""
        return not (self.gather_rows or self.gather_cols)

    def loads_ahead(self, *, partial: bool) -> bool:
        """Return whether the loop over full or over partial tiles may be pipelined."""
        by_pairs = score_reads_pairs(self.score, packed=self.packed) or (partial and reads_pairs(self.residual))
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
    def signature(self) -> Signature:
        """The arguments that all forms of the kernel have in common."""
        return SIGNATURES[self.kernel]

    @property
    def visits_tiles(self) -> bool:
        """Whether its programs go through tiles, and compute products."""
        return self.signature.products is not None

    @property
    def holds_keys(self) -> bool:
        """Whether a program holds a tile of keys and visits tiles of queries, not the other way round."""
        return self.kernel == "key_gradient"

    @property
    def by_kv_head(self) -> bool:
        """Whether its grid counts key heads, not query heads."""
        return self.packed or self.of_keys or self.holds_keys

    @cached_property
    def role(self) -> str:
        """`whole` for tiles that are one item, `split` for parts of tiles, `join` for kernels that join these."""
        if self.kernel in ("merge", "add"):
            return "join"
        return "split" if self.split else "whole"

    @property
    def results(self) -> tuple[str, ...]:
        """Names of the arguments that take its results, which parts of split tiles have a workspace for."""
        return tuple(name for name in self.signature.results if self.remainder or name != "Remainder")

    @cached_property
    def tensors(self) -> tuple[str, ...]:
        """Names of the arguments that are tensors with strides of (batch, head, row)."""
        left_out = self.holds_keys and not self.atomic
        return tuple(name for name in self.signature.tensors if not (left_out and name == "DQ"))

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
        arrays = tuple(name for name in self.signature.arrays if wanted.get(name, True))
        optional = {
            "part_numbers": self.split,
            "programs": self.grouped,
            "group_numbers": self.grouped,
            "head_subset": self.head_subset,
            "kv_groups": self.head_subset and self.by_kv_head,
            "row_positions": self.gather_rows,
            "col_positions": self.gather_cols,
            "key_positions": self.paged,
            "lifted": bool(self.lifted),
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

    @cached_property
    def scaled_lse(self) -> str:
        """The argument of the delta kernel that takes lse in the gradient kernels' units: natural under a score."""
        return "LSE_natural" if self.remainder else "LSE_log2"

    @cached_property
    def strides(self) -> tuple[str, ...]:
        """Names of the arguments that are strides, in elements."""
        return tuple(stride for name in self.tensors for stride in strides_of(name))

    @property
    def numbers(self) -> tuple[str, ...]:
        """Names of the arguments that are other numbers."""
        own = self.group_numbers if self.grouped else ()
        return tuple(name for name in self._numbers if name not in own)

    @property
    def group_numbers(self) -> tuple[str, ...]:
        """Names of the numbers that a group of heads has for itself."""
        return tuple(name for name in self._numbers if name in OF_GROUP)

    @property
    def group_arrays(self) -> tuple[str, ...]:
        """Names of the arrays that a group of heads has for itself, but for those of its programs."""
        return tuple(name for name in self.pointers if name in ARRAYS_OF_GROUP)

    @property
    def group_head(self) -> str:
        """The number of a program's head among those that the grid counts, as Triton source."""
        return "group_head" if self.grouped else "pid // programs_per_head"

    @property
    def _numbers(self) -> tuple[str, ...]:
        optional = {
            "kv_len": self.score is not None and NK in self.score.free,
            "first_program": bool(self.sums),
            "group_size": self.packed,
        }
        return (*self.signature.numbers, *(name for name, wanted in optional.items() if wanted))

    @cached_property
    def arguments(self) -> tuple[str, ...]:
        """Names of all arguments, in their order."""
        return (*self.pointers, *self.strides, *self.numbers, *self.constants)


def _chunks(columns: str, block: str, size: str, count: int, padded: bool) -> tuple[Chunk, ...]:
    """Return the chunks of a head size; only the last one may be padded."""
    suffixes = ["", *(str(number) for number in range(2, count + 1))]
    blocks = [block + suffix for suffix in suffixes]
    return tuple(
        Chunk(suffix, columns + suffix, own, " + ".join(blocks[:number]), size, padded and number == count - 1)
        for number, (suffix, own) in enumerate(zip(suffixes, blocks, strict=True))
    )


def pipelines_pairs(arch: str) -> bool:
    """Return whether an architecture's compiler takes reads by pairs in a pipelined loop.

    Triton's AMD compiler guards the products after a pipelined loop, and moves layout conversions into that branch.
    Those of masks move with them, and its shared memory doesn't take their elements of one bit.
    """
    return not arch.startswith("gfx")


def reads_pairs(predicate: Predicate | None) -> bool:
    """Return whether a predicate reads a table by pairs of positions: a load for each pair of a tile."""
    return predicate is not None and _by_pairs((atom.expr for atom in predicate.atoms), {I})


def score_reads_pairs(score: ScoreExpression | None, *, packed: bool) -> bool:
    """Return whether a score reads tables or weights by pairs; rows of a packed tile differ in their head, too."""
    if score is None:
        return False
    expressions = [score.expr, *(atom.expr for predicate in score.predicates for atom in predicate.atoms)]
    return _by_pairs(expressions, {H, I} if packed else {I})


def _by_pairs(expressions: Iterable[sympy.Expr], of_row: set[sympy.Symbol]) -> bool:
    free = (read.free_symbols for expr in expressions for read in expr.atoms(Read, Lookup))
    return any(J in symbols and symbols & of_row for symbols in free)
