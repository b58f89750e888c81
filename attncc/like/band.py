"""The band of keys around a query, which most peers' masks are, each under names of its own."""

from __future__ import annotations

import operator
from typing import Annotated, Any

import numpy as np

from attncc.errors import ParameterError
from attncc.frontend.language import Index
from attncc.frontend.pattern_factory import pattern
from attncc.frontend.patterns import Pattern
from attncc.ir.claims import Bounds
from attncc.ir.condition import Condition
from attncc.ir.predicate import TRUE

#: Keys on one side, -1 for all of them.
Side = Annotated[int, Bounds(minimum=-1)]


@pattern
def band(
    i: Index, j: Index, n_q: Index, n_k: Index, *, left: Side = -1, right: Side = -1, bottom_right: bool = False
) -> Condition:
    """The `left` keys before a query, its own, and the `right` ones after it; -1 stands for all on that side.

    The query in row r stands at position r, or with `bottom_right` at r + n_k - n_q: the last one at the last key.
    """
    position = i + n_k - n_q if bottom_right else i
    seen = Condition(TRUE)
    if left >= 0:
        seen = seen & (position - left <= j)
    if right >= 0:
        seen = seen & (j <= position + right)
    return seen


def named(name: str, *, left: int = -1, right: int = -1, bottom_right: bool = False) -> Pattern:
    """Return the band under a peer's name."""
    found = band(left=left, right=right, bottom_right=bottom_right)
    return Pattern(found.template, name, None, found.tables)


def check_at_least(owner: str, name: str, value: object, minimum: int) -> int:
    """Return an integer parameter of a peer's; raises ParameterError that names both for anything else."""
    number = None if isinstance(value, bool | np.bool_) else _index(value)
    if number is None or number < minimum:
        raise ParameterError(
            f"{owner}: {name}={value!r:.200}.",
            rule=f"{name} is an integer, at least {minimum}.",
            fix=f"Pass the value that {owner} gets.",
        )
    return number


def check_flag(owner: str, name: str, value: object) -> bool:
    """Return whether a switch of a peer's is on; raises ParameterError for all but True, False, 1 and 0."""
    number = _index(value)
    if number not in (0, 1):
        raise ParameterError(
            f"{owner}: {name}={value!r:.200}.",
            rule=f"{name} is True or False.",
            fix=f"Pass the value that {owner} gets.",
        )
    return bool(number)


def _index(value: Any) -> int | None:
    """Return what counts as one integer, such as numpy's, as one."""
    try:
        return int(value) if isinstance(value, bool | np.bool_) else operator.index(value)
    except (TypeError, ValueError):
        return None


def check_choice(owner: str, name: str, value: object, known: object) -> None:
    """Raise ParameterError unless a parameter of a peer's has one of its values."""
    choices = sorted(known)  # type: ignore[call-overload]
    if value not in choices:
        raise ParameterError(
            f"{owner}: {name}={value!r}.",
            rule=f"{name} is one of {', '.join(map(str, choices))}.",
            fix="Other masks are written under @attncc.pattern, or as a mask_mod for FlexAttention.",
        )
