"""Tables: integer or boolean data that a predicate looks up by position (documents, buckets, blocks)."""

from __future__ import annotations

import hashlib
import itertools
import secrets
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import sympy

from attncc._util import caching
from attncc.errors import TableError, refuse_traced
from attncc.ir.arrays import as_array
from attncc.ir.pyramid import AnyEntries, Pyramid
from attncc.ir.pyramid import Array as Array

#: Entries of a run on average, at least: with fewer it is faster to look at each entry.
SHORTEST = 4
#: Types of signed integers, with the greatest number of each.
_INTEGERS = [(int(np.iinfo(kind).max), kind) for kind in (np.int8, np.int16, np.int32, np.int64)]
MAX_DIMENSIONS = 4
#: Rows of lists times numbers from the least to the greatest, up to which a matrix says which rows have which numbers.
MOST_MARKED = 1 << 23
#: The largest entry, by absolute value, that a table of 64 bits may have which isn't read on the host.
UNREAD = 1 << 61
#: What names of unread tables have in them, so that in another process they name nothing; and their numbers.
_PROCESS, _numbers = secrets.token_hex(8), itertools.count()


class TableData:
    """An immutable integer or boolean array of up to four dimensions, identified by its content.

    `data` is a numpy array, a list, or a tensor. One on a GPU stays there, and is copied to the host where its entries
    are asked for. The last one or two dimensions are looked up by the predicate's indices; further dimensions in front,
    (B, ...) or (B, H, ...), each of the full size or 1, make it differ per batch entry and head.

    Raises TableError for floats, objects, empty tables and more than four dimensions.
    """

    #: Whether the entries aren't known yet (see Placeholder).
    is_placeholder = False
    #: Whether rows are lists (see attncc.Lists).
    is_lists = False
    #: The entries where they lie on a device, and nothing has asked for them on the host; see `unread`.
    tensor: Any = None

    def __init__(self, data: Any, name: str = "table") -> None:
        refuse_traced(
            TableError,
            f"Table {name!r} is made inside of a function that torch.compile traces.",
            rule="A table's entries are constants of the graph, which a traced tensor doesn't have yet.",
            fix="Make the pattern or score with it before, for example in __init__. Where it changes from call to "
            "call, make it and call attention in a function under @torch.compiler.disable, without fullgraph=True.",
        )
        if isinstance(data, TableData):
            data = data.data if data.tensor is None else data.tensor
        if hasattr(data, "detach") and _is_left_there(data):
            self._leave(data.detach().clone(), name)  # what is written to the tensor later is not of this table
            return
        array = as_array(data)
        if array.size == 0 or not 1 <= array.ndim <= MAX_DIMENSIONS:
            raise TableError(
                f"Table {name!r} has shape {array.shape}.",
                rule="A table has one to four dimensions and at least one element.",
                fix="Pass one entry per position, or (B, N), (B, H, N), (rows, columns), ...",
            )
        if array.dtype.kind not in "biu":
            raise TableError(
                f"Table {name!r} has dtype {array.dtype}.",
                rule="Tables hold integers or booleans, since they are compared exactly.",
                fix="Convert it first, for example with .to(torch.int64) or .astype(np.int64).",
            )
        if array.dtype.kind == "u" and array.max() > np.iinfo(np.int64).max:
            raise TableError(
                f"Table {name!r} holds {array.max()}.",
                rule="Entries are 64-bit signed integers.",
                fix="Number the values first: np.unique(table, return_inverse=True)[1].",
            )
        self.name = name
        self.is_boolean = array.dtype.kind == "b"
        self.entries = np.array(array, dtype=bool if self.is_boolean else np.int64, order="C")
        self.data = self.entries.view()
        self.data.flags.writeable = False
        caching.count_table(4 * self.entries.nbytes)  # with its pyramid, and copies on devices

    @classmethod
    def unread(cls, tensor: Any, name: str = "table") -> Self:
        """Return the table of a tensor that isn't read on the host, wherever it lies; nothing is to write to it.

        Its entries are integers or booleans.
        """
        table = cls.__new__(cls)
        table._leave(tensor, name)
        return table

    def _leave(self, tensor: Any, name: str) -> None:
        self.name, self.is_boolean = name, str(tensor.dtype) == "torch.bool"
        self.tensor = tensor
        self.identity = f"unread_{_PROCESS}_{next(_numbers):012}"  # new ones in their order, as kernels name them

    @cached_property
    def entries(self) -> Array:
        """The entries for torch, which warns of arrays that can't be written to; nothing writes to them."""
        return np.array(as_array(self.tensor), dtype=bool if self.is_boolean else np.int64, order="C")

    @cached_property
    def data(self) -> Array:
        """The entries, read-only, bool or int64. Of a table that is unread they are copied to the host now."""
        found = self.entries.view()
        found.flags.writeable = False
        return found

    @cached_property
    def on_host(self) -> TableData:
        """The table as it is on the host, known by its content: itself, or of an unread one a copy, read now."""
        if self.tensor is None:
            return self
        found = type(self).__new__(type(self))
        found.name, found.is_boolean, found.entries, found.data = self.name, self.is_boolean, self.entries, self.data
        return found

    def __reduce__(self) -> tuple[object, ...]:
        """A copy in another process has what it needs made anew."""
        return TableData, (self.data, self.name)

    @property
    def shape(self) -> tuple[int, ...]:
        """The sizes of the dimensions."""
        return self.data.shape if self.tensor is None else tuple(self.tensor.shape)

    @property
    def is_unread(self) -> bool:
        """Whether the entries lie on a device, and nothing has asked for them on the host."""
        return self.tensor is not None and "entries" not in self.__dict__

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return len(self.shape)

    def is_shared(self, axis: int) -> bool:
        """Whether a dimension in front of the indices is the same for all batch entries or heads, of size 1."""
        return self.shape[axis] == 1

    @cached_property
    def kept_claims(self) -> set[Any]:
        """The claims that the entries were seen to keep (attncc.ir.claims)."""
        return set()

    @cached_property
    def digest(self) -> str:
        """SHA-256 of shape and content: equal tables are the same table, in every process.

        Entries are hashed in the smallest type that holds all of them, which takes a fraction of the time.
        """
        whole = self.data
        data = whole if self.is_boolean else whole.astype(_smallest(*self.range))
        found = hashlib.sha256(f"{whole.dtype.str}{whole.shape}{data.itemsize}".encode())
        found.update(data.data)
        return found.hexdigest()

    @cached_property
    def identity(self) -> str:
        """What tells the table from others in this process: its digest, or a number of its own while it is unread."""
        return self.digest

    @property
    def promised(self) -> tuple[int, int]:
        """Bounds of the entries: the least and the greatest one, or those of an unread table's dtype.

        Of 64 bits, entries of an unread table are to be within UNREAD of 0, so that a difference of two fits 64 bits.
        """
        if self.tensor is None:
            return self.range
        if self.is_boolean:
            return 0, 1
        bits, signed = 8 * self.tensor.element_size(), self.tensor.dtype.is_signed
        most = min((1 << (bits - signed)) - 1, UNREAD)
        return (-most - 1 if signed and most < UNREAD else -most if signed else 0), most

    @cached_property
    def pyramid(self) -> Pyramid | AnyEntries:
        """Minima and maxima over aligned power-of-two blocks, for interval look-ups, or what an unread table may have.

        An unread one is in scores only: on the host patterns are planned with `on_host` in its place.
        """
        return Pyramid(self.data) if self.tensor is None else AnyEntries(*self.promised)

    def number_of(self, value: int | None) -> int:
        """Return how many entries are a number; None: how many aren't negative, as the entries of lists. It is kept."""
        kept: dict[int | None, int] = self.__dict__.setdefault("_numbers", {})
        if value not in kept:
            kept[value] = int(np.count_nonzero(self._where(value)))
        return kept[value]

    def places_of(self, value: int | None) -> tuple[Array, ...]:
        """Return where these entries are, an array for each dimension; the last ones that were asked for are kept."""
        kept: tuple[int | None, tuple[Array, ...]] | None = self.__dict__.get("_places")
        if kept is None or kept[0] != value:
            kept = self.__dict__["_places"] = value, np.nonzero(self._where(value))
        return kept[1]

    def _where(self, value: int | None) -> Array:
        if value is None:
            return self.data >= 0
        return self.data if self.is_boolean and value == 1 else self.data == value

    @cached_property
    def row_pyramid(self) -> Pyramid:
        """The least and the greatest number in each row of lists, whose dimensions in front are laid end to end.

        Between those of an empty row there is no number.
        """
        rows = self.data.reshape(-1, self.data.shape[-1])
        return Pyramid(np.where(rows < 0, np.iinfo(np.int64).max, rows).min(-1), rows.max(-1))

    @cached_property
    def marked(self) -> TableData | None:
        """Which numbers each row of lists has: a boolean table, by row and by the number + 1, up to two above the last.

        It has neither -1 nor what is above the last. None where it would be large, or the entries are on a GPU.
        """
        if self.tensor is not None:
            return None
        width = self.range[1] + 3
        if self.data[..., 0].size * width > MOST_MARKED:
            return None
        rows = self.data.reshape(-1, self.data.shape[-1])
        found = np.zeros((len(rows), width), bool)
        found[np.arange(len(rows))[:, None], rows + 1] = True
        found[:, 0] = False
        return TableData(found.reshape(*self.data.shape[:-1], width), self.name)

    @cached_property
    def largest(self) -> int:
        """The largest absolute value that an entry has, or that one of an unread table may have."""
        return max(map(abs, self.promised))

    @cached_property
    def range(self) -> tuple[int, int]:
        """The least and the greatest entry."""
        return int(np.minimum.reduce(self.data, axis=None)), int(np.maximum.reduce(self.data, axis=None))

    @cached_property
    def runs(self) -> Runs | None:
        """Where a table of one dimension goes on as it did, None where that is seldom."""
        return Runs.of(self.data) if self.ndim == 1 and not self.is_boolean else None

    def on(self, device: Any) -> Any:
        """Return the table as an int64 torch tensor on `device` (cached per device)."""
        return self._placed(device, np.int64)

    def narrow_on(self, device: Any) -> Any:
        """Return the table as a torch tensor on `device`, int32 where its entries fit (cached per device)."""
        return self._placed(device, np.int32 if self.is_narrow else np.int64)

    def flags_on(self, device: Any) -> Any:
        """Return a boolean table as an int8 torch tensor on `device` (cached per device)."""
        return self._placed(device, np.int8)

    @cached_property
    def is_narrow(self) -> bool:
        """Whether all entries fit 32 bits. Of those that aren't negative, their union of bits tells in one pass."""
        if self.tensor is not None:
            return self.largest <= 1 << 31
        bits = 0 if self.is_boolean else int(np.bitwise_or.reduce(self.data, axis=None))
        return bits < 1 << 31 if bits >= 0 else self.largest < 1 << 31

    def _placed(self, device: Any, dtype: type[np.signedinteger[Any]]) -> Any:
        cache: dict[Any, Any] = self.__dict__.setdefault("_on_device", {})
        if (device, dtype) not in cache:
            import torch

            if self.tensor is None:
                placed = torch.as_tensor(self.data.astype(dtype), device=device)
            else:
                placed = self.tensor.to(device, getattr(torch, np.dtype(dtype).name))
            cache[device, dtype] = placed
        return cache[device, dtype]

    def __repr__(self) -> str:
        return f"Table({self.name!r}, shape={self.shape})"


def _smallest(least: int, most: int) -> type[np.signedinteger[Any]]:
    """Return the smallest type of signed integers that holds two numbers."""
    return next(kind for greatest, kind in _INTEGERS if most <= greatest and least >= -1 - greatest)


@dataclass(frozen=True, eq=False)
class Runs:
    """Parts of an array, each from an index in `first`, in which entries grow by `slope`, 0 or 1, at each step."""

    first: Array
    slope: int

    @classmethod
    def of(cls, data: Array) -> Runs | None:
        """Return the runs of an array (N,): of equal entries, or of consecutive numbers; None if both are short."""
        for slope in (0, 1):
            opens = np.flatnonzero(data[1:] - slope != data[:-1]) if slope else np.flatnonzero(data[1:] != data[:-1])
            if SHORTEST * len(opens) <= len(data):
                return cls(np.concatenate([np.zeros(1, np.int64), opens + 1]), slope)
        return None


def _is_left_there(data: Any) -> bool:
    """Return whether a tensor is on a GPU, where a table can be without a look at its entries."""
    if getattr(getattr(data, "device", None), "type", "cpu") in ("cpu", "meta"):
        return False
    kind, is_sized = str(data.dtype), data.numel() > 0 and 1 <= data.ndim <= 4
    return is_sized and kind.startswith(("torch.int", "torch.uint8", "torch.bool"))


class TableSymbol(sympy.AtomicExpr):  # type: ignore[misc]
    """A table inside a sympy expression; equal to another one exactly when their contents are equal.

    One that is unread equals itself alone.
    """

    is_commutative = True
    is_integer = True

    def __new__(cls, table: TableData) -> Self:
        known: Self | None = table.__dict__.get("_symbol")
        if known is not None:
            return known
        node: Self = sympy.AtomicExpr.__new__(cls)
        node.table = table
        if table.is_unread and "_is_held" not in table.__dict__:
            table.__dict__["_is_held"] = True  # by what the algebra keeps
            caching.count_table(table.tensor.nbytes)
        if table.is_placeholder:  # looked up at every call, where one object is found without a comparison
            table.__dict__["_symbol"] = node
        return node

    table: TableData

    def __getnewargs__(self) -> tuple[TableData]:
        """What a copy in another process is made of."""
        return (self.table,)

    def __getstate__(self) -> None:
        """Nothing else: `__new__` sets the table."""

    def _hashable_content(self) -> tuple[str, ...]:
        return (self.table.identity,)

    def sort_key(self, order: Any = None) -> Any:
        return (
            self.class_key(),
            (1, (self.table.identity,)),
            sympy.S.One.sort_key(),
            sympy.S.One,
        )

    def _sympystr(self, printer: Any) -> str:
        return f"table_{self.table.identity}"


class Read(sympy.Function):  # type: ignore[misc]
    """`Read(table, x, ...)` is the table's entry at index (x, ...), an integer."""

    is_integer = True
    is_real = True
    is_finite = True

    @property
    def table(self) -> TableData:
        table: TableData = self.args[0].table
        return table

    @property
    def indices(self) -> tuple[sympy.Expr, ...]:
        """The indices that stay inside the table."""
        return tuple(self.args[1:])

    @property
    def shape(self) -> tuple[int, ...]:
        """The entries along the axis of each index."""
        return self.table.shape
