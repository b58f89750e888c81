"""Files of search spaces: what one says, checked.

Everything that is wrong with a file is a ConfigError that names the file and quotes what it says.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources.abc import Traversable
from typing import Any, NoReturn

from attncc.configs.entry import check_value
from attncc.errors import ConfigError, nearest
from attncc.planner.directions import DIRECTIONS
from attncc.tune import expression, parameters, sources
from attncc.tune.expression import Expression, Names
from attncc.tune.kind import Candidate, Value

MOST_ENTRIES = 1000
KEYS = ("title", "direction", "parameters", "constraints", "seeds")


@dataclass(frozen=True)
class Constraint:
    """A rule that candidates keep, and why; `where` names its file."""

    rule: str
    why: str
    where: str
    expression: Expression = field(compare=False, repr=False)

    def holds(self, names: Names) -> bool:
        """Return whether a candidate, with the facts, keeps the rule; raises ConfigError."""
        value = self.expression(names)
        if not isinstance(value, bool):
            _fail(self.where, f"rule {self.rule!r} is {value!r}", "A rule is True or False.")
        return value


@dataclass(frozen=True)
class Family:
    """What one file says: `direction` None is both."""

    where: str
    title: str
    direction: str | None
    parameters: Mapping[str, tuple[Value, ...]]
    constraints: tuple[Constraint, ...]
    seeds: tuple[Candidate, ...]


def read(file: Traversable, backend: str) -> Family:
    """Return what a file says of a backend; raises ConfigError."""
    where = str(file)
    content = _content(file, where)
    _keys(where, content, KEYS, "A search space")
    direction = content.get("direction")
    if direction is not None and direction not in DIRECTIONS:
        _fail(where, f"direction = {direction!r}", f"It is one of {', '.join(DIRECTIONS)}, or left out for both.")
    title = content.get("title", "")
    if not isinstance(title, str):
        _fail(where, f"title = {title!r}", "It is a text.")
    known = parameters.names(backend, direction)
    lists = {
        name: _list(where, backend, known, name, values)
        for name, values in _table(where, content.get("parameters", {}), "[parameters]").items()
    }
    return Family(
        where,
        title,
        direction,
        lists,
        tuple(_constraint(where, each) for each in _tables(where, content, "constraints")),
        tuple(_seed(where, backend, known, each) for each in _tables(where, content, "seeds")),
    )


def _content(file: Traversable, where: str) -> dict[str, Any]:
    text = sources.content(file)
    try:
        return tomllib.loads(text.decode("utf-8"))
    except (ValueError, RecursionError) as error:  # also too many digits, and bytes that aren't UTF-8
        _fail(where, f"it is no TOML: {error}", "See search_spaces/README.md for the form.")


def _list(where: str, backend: str, known: tuple[str, ...], name: str, values: object) -> tuple[Value, ...]:
    """Return the values of a parameter, which the backend takes and which are in order."""
    quoted = f"{name!r} = {values!r}"
    if not isinstance(values, list) or not values or len(values) > MOST_ENTRIES:
        _fail(where, quoted, f"A parameter has a list of 1 to {MOST_ENTRIES} values.")
    for value in values:
        _check(where, backend, known, name, value)
    if len({type(value) for value in values}) > 1 or len(set(values)) < len(values):
        _fail(where, quoted, "Its values are of one type, and each is there once.")
    if type(values[0]) is int and values != sorted(values):
        _fail(where, quoted, "Numbers ascend, so that neighbours in the list are alike.")
    return tuple(values)


def _seed(where: str, backend: str, known: tuple[str, ...], seed: Mapping[str, Any]) -> Candidate:
    for name, value in seed.items():
        _check(where, backend, known, name, value)
    return dict(seed)


def _check(where: str, backend: str, known: tuple[str, ...], name: str, value: object) -> None:
    if name not in known:
        rule = f"What {backend} leaves open is {', '.join(known)}."
        _fail(where, f"unknown parameter {name!r}", rule, nearest(name, known))
    try:
        check_value(name, value)
        parameters.kind_of(backend).check({name: value})
    except ConfigError as error:
        _fail(where, f"{name!r} has {value!r}", error.rule, error.fix)


def _constraint(where: str, table: Mapping[str, Any]) -> Constraint:
    _keys(where, table, ("rule", "why"), "A constraint")
    why = table.get("why", "")
    if "rule" not in table or not isinstance(why, str):
        _fail(where, f"constraint {dict(table)!r}", "A constraint has a `rule`, and a `why` that is a text.")
    read = expression.parse(table["rule"], where)
    return Constraint(read.text, why, where, read)


def _tables(where: str, content: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    found = content.get(key, [])
    if not isinstance(found, list) or len(found) > MOST_ENTRIES:
        _fail(where, f"{key} = {str(found)[:80]}", f"There are up to {MOST_ENTRIES} tables, each headed [[{key}]].")
    return [_table(where, each, f"[[{key}]]") for each in found]


def _table(where: str, found: object, heading: str) -> dict[str, Any]:
    if not isinstance(found, dict):
        _fail(where, f"{heading} holds {str(found)[:80]!r}", "It is a table.")
    return found


def _keys(where: str, table: Mapping[str, Any], known: tuple[str, ...], what: str) -> None:
    for key in table:
        if key not in known:
            _fail(where, f"unknown key {key!r}", f"{what} has {', '.join(known)}.", nearest(key, known))


def _fail(where: str, problem: str, rule: str, fix: str = "") -> NoReturn:
    raise ConfigError(f"{where}: {problem}.", rule=rule, fix=fix)
