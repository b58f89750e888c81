"""Masks in a graph: a mask function is recorded where torch.compile traces it, and its tensors are the graph's.

A pattern's expression is a constant of the graph, and how it is made isn't traced (`frontend/graph_templates.py`). But
torch.compile has to trace a mask function, since it closes over tensors of the graph. So the function is called with
`Recorded` symbols, which write down what it does in tuples.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from attncc._util.tracing import constant
from attncc.errors import PatternError
from attncc.frontend.declared import placeholder
from attncc.frontend.graph_templates import handle_of
from attncc.frontend.language import Index, Table
from attncc.frontend.patterns import Pattern, TracedPattern
from attncc.frontend.templates import PatternTemplate
from attncc.ir.condition import predicate_of
from attncc.ir.placeholders import TableKind
from attncc.ir.symbols import BY_NAME

#: An expression that was written down: a number, ("symbol", name), ("table", number, positions...), or an operation.
Expression = Any


_EAGER = 'Load this model with attn_implementation="eager", or run it without torch.compile.'


class TracedMask(NamedTuple):
    """A mask in a graph, in the place of a `PatternMask`, which is a tensor.

    Attributes:
        pattern: The pattern; query row r stands at q_offset + r, key row at its own number.
        q_offset: The position of the first query, a number or, of a static cache, a tensor (B,).
        shape: (B, 1, Nq, Nk).
        elements: The mask itself, bool (B, 1, Nq, Nk), for a model that reads it; else None.
    """

    pattern: Pattern
    q_offset: int | Tensor
    shape: tuple[int, int, int, int]
    elements: Tensor | None = None

    def __getitem__(self, key: Any) -> Any:
        """Return a part of the mask's elements, as of a tensor; a number is that of a field."""
        if not isinstance(key, tuple):
            return tuple.__getitem__(self, key)
        if self.elements is None:
            raise PatternError(
                "A model reads the elements of its mask in a graph of torch.compile.",
                rule="There the mask of a model without an indexer (index_topk) is a pattern, and has no elements.",
                fix='Compile it under attn_implementation="sdpa", or run it without torch.compile.',
            )
        return self.elements[key]

    def __getattr__(self, name: str) -> Any:
        """Refuse what a tensor has, as models read that mix their masks with others of their own (Doge)."""
        if name.startswith("_") or not hasattr(Tensor, name):
            raise AttributeError(f"A mask in a graph of torch.compile has no {name}.")
        raise PatternError(
            f"A model reads {name} of its mask in a graph of torch.compile.",
            rule="There a mask is a pattern, for attention that is called through Transformers' AttentionInterface.",
            fix=_EAGER,
        )

    def __radd__(self, scores: Any) -> Any:
        """Refuse to be added to scores."""
        raise PatternError(
            "A model adds its mask to scores in a graph of torch.compile.",
            rule="attncc's masks are for attention that a model calls through Transformers' AttentionInterface.",
            fix=_EAGER,
        )

    @property
    def is_from_start(self) -> bool:
        """Whether the first query is known to stand at position 0."""
        return not isinstance(self.q_offset, Tensor) and self.q_offset == 0

    def bound(self) -> Pattern:
        """Return the pattern outside of the graph, where its tables have entries."""
        made = self.pattern
        tables = [Table(table, name=f"captured_{n}") for n, table in enumerate(made.tables)]
        return Pattern(made.template, made.name, None, tables)


def _operation(name: str) -> Callable[..., Recorded]:
    def record(self: Recorded, *others: Any) -> Recorded:
        return Recorded((name, self.expression, *[_told(other) for other in others]))

    return record


def _reflected(name: str) -> Callable[..., Recorded]:
    def record(self: Recorded, other: Any) -> Recorded:
        return Recorded((name, other, self.expression))

    return record


class Recorded:
    """What a mask function gets in place of positions: it writes down what becomes of it."""

    device = None

    def __init__(self, expression: Expression) -> None:
        self.expression = expression

    __add__, __sub__, __mul__ = _operation("add"), _operation("sub"), _operation("mul")
    __floordiv__, __mod__ = _operation("floordiv"), _operation("mod")
    __radd__, __rsub__, __rmul__ = _reflected("add"), _reflected("sub"), _reflected("mul")
    __lt__, __le__, __gt__, __ge__ = _operation("lt"), _operation("le"), _operation("gt"), _operation("ge")
    __eq__, __ne__ = _operation("eq"), _operation("ne")  # type: ignore[assignment]
    __and__, __or__, __xor__ = _operation("and_"), _operation("or_"), _operation("xor")
    __rand__, __ror__, __rxor__ = _reflected("and_"), _reflected("or_"), _reflected("xor")
    __neg__, __abs__ = _operation("neg"), _operation("abs")
    __hash__ = None  # type: ignore[assignment]

    def new_ones(self, *_: Any, **__: Any) -> Recorded:
        """Return True, which `and_masks` begins with."""
        return Recorded(True)

    def new_zeros(self, *_: Any, **__: Any) -> Recorded:
        """Return False, which `or_masks` begins with."""
        return Recorded(False)

    def to(self, *_: Any) -> Recorded:
        """Return the same: devices are no matter."""
        return self


class LookUpRecorder(TorchFunctionMode):
    """Writes down what a mask function looks up: `tensor[b, kv_idx]`."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: list[Tensor] = []

    def __torch_function__(self, function: Any, types: object, args: Any = (), kwargs: Any = None) -> Any:
        if len(args) == 2:
            index = args[1] if isinstance(args[1], tuple) else (args[1],)
            if any([isinstance(part, Recorded) for part in index]):  # noqa: C419  # torch.compile traces a list
                return Recorded(("table", self._number(args[0]), *[_told(part) for part in index]))
        return function(*args, **(kwargs or {}))

    def _number(self, tensor: Tensor) -> int:
        known = [n for n, other in enumerate(self.tables) if other is tensor]
        if known:
            return known[0]
        self.tables.append(tensor)
        return len(self.tables) - 1


def recorded_pattern(mask_function: Callable[..., Any], name: str = "mask") -> Pattern:
    """Return the pattern of mask_function(b, h, q_idx, kv_idx), whose tensors are values of the graph.

    The function may do what `Recorded` does. torch.compile leaves the graph at anything else.
    """
    recorder = LookUpRecorder()
    with recorder:
        found = mask_function(*[Recorded(("symbol", symbol)) for symbol in "bhij"])
    kinds = tuple([_kind_of(table) for table in recorder.tables])
    return TracedPattern(_handle(_told(found), kinds), recorder.tables, name)


def _told(value: Any) -> Expression:
    return value.expression if isinstance(value, Recorded) else value


def _kind_of(tensor: Tensor) -> tuple[tuple[bool, ...], bool]:
    shared = [True if n == 1 else False for n in tensor.shape[:-1]]  # noqa: SIM210  # n may be a symbol
    return (*shared, False), tensor.dtype == torch.bool


@constant
def _handle(expression: Expression, kinds: tuple[tuple[tuple[bool, ...], bool], ...]) -> str:
    """Return the handle of an expression's template, whose tables are of these kinds."""
    tables = [placeholder(f"captured_{n}", n, TableKind(*kind)) for n, kind in enumerate(kinds)]
    return handle_of(PatternTemplate([predicate_of(_evaluated(expression, tables))]))


def _evaluated(expression: Expression, tables: list[Any]) -> Any:
    """Return an expression in attncc's language."""
    if not isinstance(expression, tuple):
        return expression
    name, *parts = expression
    if name == "symbol":
        return Index.of(BY_NAME[parts[0]])
    if name == "table":
        return tables[parts[0]][tuple([_evaluated(part, tables) for part in parts[1:]])]
    return getattr(operator, name)(*[_evaluated(part, tables) for part in parts])
