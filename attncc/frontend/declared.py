"""Templates of declared patterns: a function gets placeholders once for all tables of their kinds."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, Protocol

from attncc._util import caching
from attncc.errors import AttnccError
from attncc.frontend.language import TablePlaceholder
from attncc.frontend.lists import ListsPlaceholder
from attncc.frontend.templates import PatternTemplate
from attncc.ir.placeholders import Placeholder, TableKind, UnboundError
from attncc.ir.predicate import Predicate


class DeclaredSubsets(Protocol):
    """What makes predicates of parameters: a declared pattern."""

    def subsets(self, parameters: Mapping[str, Any]) -> list[Predicate]: ...


def placeholder(name: str, number: int, kind: TableKind) -> Placeholder:
    """Return what a declared function gets in place of a table, or of lists."""
    return (ListsPlaceholder if kind.is_lists else TablePlaceholder)(name, number, kind)


@caching.algebra(1024)
def template_for(
    declared: DeclaredSubsets,
    others: tuple[tuple[str, Any], ...],
    kinds: tuple[tuple[str, TableKind], ...],
    read: Hashable,
) -> PatternTemplate | None:
    """Return the template of a declared pattern for all tables of these kinds; None where it asks for their entries.

    None, too, where the function refuses: it does so again with the tables, and then its error names them.
    `read` are the function's surroundings.
    """
    placeholders = {name: placeholder(name, n, kind) for n, (name, kind) in enumerate(kinds)}
    try:
        return PatternTemplate(declared.subsets({**dict(others), **placeholders}))
    except (UnboundError, AttnccError):
        return None
