"""Templates that are made inside of a graph: torch.compile runs these functions while it traces.

They take and return handles, which are constants of the graph, since its tables have no entries yet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from attncc._util.tracing import constant
from attncc.errors import PatternError, TableError, refuse_traced
from attncc.frontend.declarations import Parameter
from attncc.frontend.declared import DeclaredSubsets, placeholder, template_for
from attncc.frontend.lists import Lists
from attncc.frontend.surroundings import surroundings
from attncc.frontend.templates import Change, PatternTemplate, derived, handle_in_graphs, joined, template_of
from attncc.ir.placeholders import TableKind, UnboundError
from attncc.ir.predicate import Predicate

#: A table that is a value of the graph: its parameter, which dimensions are shared (see TableKind), and its dtype.
Slot = tuple[str, tuple[bool, ...], str]


class HasParameters(Protocol):
    """What has parameters by name: a declaration."""

    def parameter(self, name: str) -> Parameter: ...


class DeclaredPattern(DeclaredSubsets, HasParameters, Protocol):
    """What is asked of a declared pattern."""

    @property
    def function(self) -> Callable[..., Any]: ...

    def checked(self, values: Mapping[str, Any]) -> dict[str, Any]: ...


def check_untraced(name: str) -> None:
    """Raise PatternError where a pattern of this name would be made inside of what torch.compile traces."""
    refuse_traced(
        PatternError,
        f"Pattern {name!r} is made inside of a function that torch.compile traces.",
        rule="A pattern is a constant of the graph: how it is made isn't traced.",
        fix="Make it before, for example in __init__. Where it changes from call to call, make it and call attention "
        "in a function under @torch.compiler.disable, without fullgraph=True.",
    )


def is_graph_value(value: object) -> bool:
    """Return whether a parameter is a tensor or array, and thus a value of the graph."""
    return hasattr(value, "shape") and hasattr(value, "dtype")


def slot_of(name: str, tensor: Any) -> Slot:
    """Return what is known of a tensor that is a parameter."""
    leading = [True if n == 1 else False for n in tensor.shape[:-1]]  # noqa: SIM210  # n may be a symbol
    return name, (*leading, False), str(tensor.dtype)


@constant
def slots_of(handle: str) -> int:
    """Return how many tables a template takes in a graph: one for each number up to its last placeholder's."""
    return template_of(handle).slots


@constant
def handle_of(template: PatternTemplate) -> str:
    """Return the handle of a template that was made outside of the graph."""
    return handle_in_graphs(template)


@constant
def declared_handle(declared: DeclaredPattern, slots: tuple[Slot, ...], names: tuple[str, ...], *values: Any) -> str:
    """Return the handle of a declared pattern's template; the parameters that aren't slots have names and values.

    Raises ParameterError, TableError or PatternError.
    """
    kinds = {slot[0]: kind_of(declared, *slot) for slot in slots}
    stand_ins = {name: placeholder(name, n, kind) for n, (name, kind) in enumerate(kinds.items())}
    checked = declared.checked({**dict(zip(names, values, strict=True)), **stand_ins})
    others = tuple(item for item in checked.items() if item[0] not in kinds)
    template = template_for(declared, others, tuple(kinds.items()), surroundings(declared.function))
    if template is None:
        template = PatternTemplate(_subsets(declared, checked))
    return handle_in_graphs(template)


@constant
def derived_handle(handle: str, change: Change, *numbers: int) -> str:
    """Return the handle of what becomes of a template."""
    return handle_in_graphs(derived(template_of(handle), change, *numbers))


@constant
def joined_handle(join: Callable[..., Predicate], numbers: tuple[tuple[int, ...], ...], *handles: str) -> str:
    """Return the handle of the join of templates, whose placeholders get these numbers."""
    return handle_in_graphs(joined(tuple(map(template_of, handles)), numbers, join))


def kind_of(declared: HasParameters, name: str, shared: tuple[bool, ...], dtype: str) -> TableKind:
    """Return the kind of a slot's tables; raises TableError for what isn't integers or booleans."""
    parameter, entries = declared.parameter(name), dtype.rpartition(".")[2]
    if not entries.startswith(("bool", "int", "uint")):
        raise TableError(
            f"Table {name!r} has dtype {dtype}.",
            rule="Tables hold integers or booleans, since they are compared exactly.",
            fix="Convert it first, for example with .to(torch.int64).",
        )
    return TableKind(shared, entries == "bool", parameter.type is Lists, parameter.claims)


def _subsets(declared: DeclaredSubsets, checked: Mapping[str, Any]) -> list[Predicate]:
    try:
        return declared.subsets(checked)
    except UnboundError as error:
        raise PatternError(
            f"A pattern is made inside of a graph. {error}",
            rule="A graph is for all tables of a kind: a pattern that it makes may look them up, and nothing else.",
            fix="Look entries up by positions only, or make the pattern before, for example in __init__.",
        ) from None
