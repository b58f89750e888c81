"""Captures: what functions written for FlexAttention close over, as tables and weights that attncc looks up.

`ids[q_idx]` with a tensor and a position is a look-up. Tensors of integers and booleans become tables, tensors of
floating-point numbers become weights of a score.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache, partial
from types import FunctionType
from typing import Any, NoReturn

from attncc.errors import PatternError
from attncc.frontend.declared import placeholder
from attncc.frontend.language import Flag, Index, Table, index_of
from attncc.frontend.lists import Lists
from attncc.frontend.weights import Weights, check_weights
from attncc.ir.condition import CAPTURED, Condition, Symbolic
from attncc.ir.placeholders import Placeholder, TableKind
from attncc.ir.predicate import FALSE
from attncc.ir.symbols import B, H

#: A tensor of torch, which planning doesn't import: where nothing else did, there are none.
Tensor = Any


class Captures:
    """The tensors that a function looks up, in the order in which it does.

    Attributes:
        tables: Those of integers and booleans, with the placeholders that stand for them.
        weights: Those of floating-point numbers, by name.
    """

    def __init__(self, function: Callable[..., Any], *, takes_weights: bool) -> None:
        self.tables: list[tuple[Table | Lists, Placeholder]] = []
        self.weights: dict[str, Tensor] = {}
        self._names, self._takes_weights = _names(function), takes_weights
        self._seen: dict[tuple[object, ...], tuple[Tensor, Any]] = {}

    @contextmanager
    def taking(self) -> Iterator[None]:
        """Take look-ups, and tensors without dimensions, for as long as the context lasts."""
        token = CAPTURED.set(self.scalar)
        try:
            with _looking_up(self.row):
                yield
        finally:
            CAPTURED.reset(token)

    def row(self, tensor: Tensor, index: tuple[Any, ...]) -> Any:
        """Return an entry of a tensor, or where it has more dimensions than the index, what looks the others up."""
        if len(index) < tensor.ndim:
            return Row(self, tensor, index)
        return self.entry(tensor, index)

    def scalar(self, tensor: Any) -> Any:
        """Return what stands for a tensor without dimensions."""
        if is_tensor(tensor) and tensor.is_floating_point():
            return self._stand_in(tensor, self._weights)[()]
        number = index_of(int(tensor))
        return Truth(number) if _is_boolean(tensor) else number

    def entry(self, tensor: Tensor, index: tuple[Any, ...]) -> Any:
        """Return the entry of a tensor at positions, one for each dimension, of which some may be numbers."""
        index = tuple(map(_part, index, tensor.shape)) if len(index) == tensor.ndim else index
        if not all(isinstance(part, Index | int) for part in index):
            raise PatternError(
                f"A tensor of shape {tuple(tensor.shape)} was looked up with {index!r:.80}.",
                rule="There is one position or number a dimension.",
                fix="Take slices of the tensor before, outside of the function.",
            )
        if tensor.is_floating_point():
            return self._stand_in(tensor, self._weights)[index]
        numbers: tuple[Any, ...] = tuple(part if isinstance(part, int) else slice(None) for part in index)
        positions = tuple(part for part in index if isinstance(part, Index))
        if len(positions) == 3 and _is_symbol(positions[0], H):  # batch entries share what depends on the head
            numbers, positions = (None, *numbers), (index_of(0), *positions)
        leading = [symbol for part, symbol in zip(positions, (B, H), strict=False) if _is_leading(part, symbol)]
        if len(positions) - len(leading) > 2:
            raise PatternError(
                f"A tensor of integers of shape {tuple(tensor.shape)} was looked up at {len(positions)} positions.",
                rule="Beside batch entry and head, in front, two dimensions of a table are looked up.",
                fix="Look the dimensions up that differ, and take the others before, outside of the function.",
            )
        entry = self._stand_in(tensor, self._table, numbers)[positions]
        return Truth(entry) if _is_boolean(tensor) else entry

    def is_among(self, number: Index, tensor: Tensor, index: tuple[Any, ...]) -> Any:
        """Return whether a number is one of a tensor's last dimension, at positions in the other ones."""
        if tensor.numel() == 0:
            return Condition(FALSE)
        tensor = tensor if tensor.dtype.itemsize == 8 else tensor.long()
        least = min(0, int(tensor.min()))  # lists skip negative entries
        lists = self._stand_in(tensor, partial(self._lists, least))
        return (number - least).isin(lists[index])

    def _stand_in(self, tensor: Tensor, made: Callable[..., Any], numbers: tuple[Any, ...] = ()) -> Any:
        """Return what stands for a tensor, or for a part of it; asked again, the same."""
        known = id(tensor), getattr(made, "__name__", ""), repr(numbers)
        if known not in self._seen:
            self._seen[known] = tensor, made(tensor[numbers] if numbers else tensor, self._name(tensor))
        return self._seen[known][1]

    def _name(self, tensor: Tensor) -> str:
        return self._names.get(id(tensor), f"captured_{len(self.tables) + len(self.weights)}")

    def _table(self, tensor: Tensor, name: str) -> Any:
        return self._taken(Table(tensor, name=name))

    def _lists(self, least: int, tensor: Tensor, name: str) -> Any:
        return self._taken(Lists(tensor - least, name=name))

    def _taken(self, table: Table | Lists) -> Any:
        stand_in = placeholder(table.name, len(self.tables), TableKind.of(table))
        self.tables.append((table, stand_in))
        return stand_in

    def _weights(self, tensor: Tensor, name: str) -> Weights:
        if not self._takes_weights:
            raise PatternError(
                f"Tensor {name!r} of {tensor.dtype} was looked up in a mask.",
                rule="Whether pairs are connected is decided by integers and booleans, exactly.",
                fix="Compare it before, outside of the function, so that it looks a boolean tensor up.",
            )
        slot = len(self.weights)
        name = name if name not in self.weights else f"{name}_{slot}"
        self.weights[name] = check_weights(tensor, name)
        return Weights(tuple(tensor.shape), name, slot)


class Truth(Flag):
    """An entry of a tensor of booleans: sums and products of these with conditions are conditions, as in torch."""

    __hash__ = None

    def __add__(self, other: object) -> Any:
        return self | other if isinstance(other, Condition) else super().__add__(other)

    def __mul__(self, other: object) -> Any:
        return self & other if isinstance(other, Condition) else super().__mul__(other)

    __radd__, __rmul__ = __add__, __mul__


class Row:
    """A part of a tensor that a function looks up dimension by dimension, as in `ids[b][q_idx]`."""

    def __init__(self, captures: Captures, tensor: Tensor, index: tuple[Any, ...]) -> None:
        self._captures, self._tensor, self._index = captures, tensor, index

    def __getitem__(self, index: Any) -> Any:
        return self._captures.row(self._tensor, self._index + (index if isinstance(index, tuple) else (index,)))

    def __eq__(self, other: object) -> Any:
        if (
            not isinstance(other, Index)
            or len(self._index) + 1 != self._tensor.ndim
            or self._tensor.is_floating_point()
        ):
            return NotImplemented
        return Matches(partial(self._captures.is_among, other, self._tensor, self._index))

    def __ne__(self, other: object) -> NoReturn:
        raise PatternError(
            "A row of a tensor that positions select was compared with `!=`.",
            rule="A function asks whether a number is in a row: (row == number).any(-1).",
            fix="Write ~(row == number).any(-1) for (row != number).all(-1).",
        )

    __hash__ = None  # type: ignore[assignment]

    @classmethod
    def __torch_function__(cls, function: Any, *_: Any, **__: Any) -> NoReturn:
        raise PatternError(
            f"torch's {function.__name__!r} was called with a row of a tensor that positions select.",
            rule="A function takes single entries of tensors: one position a dimension.",
            fix="Compute with the whole tensor before, outside of the function, and look its entries up.",
        )

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a row of a tensor that positions select has no {name!r}")


class Matches:
    """The comparison of a row of integers with a number, of which a function asks whether any holds."""

    def __init__(self, is_among: Callable[[], Any]) -> None:
        self._is_among = is_among

    def any(self, dim: int = -1) -> Any:
        """Return whether the number is in the row."""
        if dim not in (-1, 0):
            raise PatternError(f"any(dim={dim}) of a row.", rule="A row has one dimension.", fix="Write .any(dim=-1).")
        return self._is_among()


@cache
def _mode() -> type[Any]:
    """Return the mode in which torch asks `look_up` about elements of tensors at positions."""
    modes: Any = sys.modules["torch.overrides"]

    class LookUps(modes.TorchFunctionMode):  # type: ignore
        def __init__(self, look_up: Callable[[Tensor, tuple[Any, ...]], Any]) -> None:
            super().__init__()
            self._look_up = look_up

        def __torch_function__(self, function: Any, types: object, args: Any = (), kwargs: Any = None) -> Any:
            if function.__name__ == "__getitem__":
                index = args[1] if isinstance(args[1], tuple) else (args[1],)
                if any(isinstance(part, Symbolic) for part in index):
                    return self._look_up(args[0], index)
            return function(*args, **(kwargs or {}))

    return LookUps


def _looking_up(look_up: Callable[[Tensor, tuple[Any, ...]], Any]) -> AbstractContextManager[object]:
    return _mode()(look_up) if "torch" in sys.modules else nullcontext()


def is_tensor(value: object) -> bool:
    """Return whether a value is a tensor of torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def _part(part: Any, size: int) -> Any:
    """Return a part of an index: a position, or a number, counted from the front; anything else as it is."""
    if isinstance(part, Symbolic) or not hasattr(part, "__index__") or getattr(part, "shape", ()) != ():
        return part
    number = operator.index(part)
    return number + size if -size <= number < 0 else number


def _is_boolean(tensor: Tensor) -> bool:
    return str(getattr(tensor, "dtype", None)) == "torch.bool"


def _is_leading(part: Index, symbol: Any) -> bool:
    return _is_symbol(part, symbol) or (symbol == B and _is_symbol(part, 0))


def _is_symbol(part: Index, symbol: Any) -> bool:
    return len(part.cases) == 1 and part.cases[0][1] == symbol


def _names(function: Callable[..., Any]) -> Mapping[int, str]:
    """Return the names of variables that a function, and functions that it closes over, read, by ids of values."""
    found: dict[int, str] = {}
    _collect(function, found, set())
    return found


def _collect(function: object, found: dict[int, str], inside: set[int]) -> None:
    if not isinstance(function, FunctionType) or id(function) in inside:
        return
    inside.add(id(function))
    names = function.__code__.co_freevars
    read = {name: function.__globals__[name] for name in function.__code__.co_names if name in function.__globals__}
    for name, cell in zip(names, function.__closure__ or (), strict=True):
        try:
            read[name] = cell.cell_contents
        except ValueError:  # nothing yet
            continue
    for name, value in read.items():
        if is_tensor(value):
            found.setdefault(id(value), name)
        for each in value if isinstance(value, tuple | list) else (value,):
            _collect(each, found, inside)
