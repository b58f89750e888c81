"""Files of search spaces: where they lie, what each says, checked, and the space that they make together.

Everything that is wrong with a file is a ConfigError that names the file and quotes what it says.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, NoReturn

from attncc import backends
from attncc._util import storage
from attncc.configs.entry import check_value
from attncc.errors import ConfigError, nearest
from attncc.planner.directions import DIRECTIONS
from attncc.tune import expression
from attncc.tune.space import Constraint, Space
from attncc.tune.tunables import Candidate, Tunables, Value

#: Bytes of a file that are read.
LARGEST = 1 << 20
MOST_ENTRIES = 1000
KEYS = ("title", "direction", "parameters", "constraints", "seeds")

Lists = Mapping[str, tuple[Value, ...]]


@dataclass(frozen=True)
class SpaceFile:
    """What one file says, for one direction or (None) for both; `where` is the file's name."""

    where: str
    title: str
    direction: str | None
    parameters: Lists
    constraints: tuple[Constraint, ...]
    seeds: tuple[Candidate, ...]

    def narrowed(self, tunables: Tunables, direction: str) -> SpaceFile:
        """Return the part of one direction: a file of both may have parameters, rules and seeds of the other."""
        own = set(tunables.names(direction))
        others = set(tunables.names()) - own
        seeds = ({name: value for name, value in seed.items() if name in own} for seed in self.seeds)
        return replace(
            self,
            parameters={name: values for name, values in self.parameters.items() if name in own},
            constraints=tuple(rule for rule in self.constraints if not rule.parameters & others),
            seeds=tuple(seed for seed in seeds if seed),
        )

    def check_seeds(self, lists: Lists) -> None:
        """Raise ConfigError for a seed with a value that isn't in its parameter's list."""
        for name, value in ((name, value) for seed in self.seeds for name, value in seed.items()):
            if value not in lists.get(name, ()):
                listed = list(lists.get(name, ()))
                raise ConfigError(
                    f"{self.where}: a seed has {name!r} = {value!r}, which is not a choice.",
                    rule=f"The list of {name} is {listed}." if listed else f"{name} has no list in [parameters].",
                    fix=f"Add it to the list of {name}.",
                )


def shipped(name: str) -> list[Traversable]:
    """Return the files that attncc, its checkout, or the package of a third party's backend ships, by name."""
    packaged = resources.files("attncc").joinpath("search_spaces")
    folder = packaged if packaged.is_dir() else Path(__file__).parents[2] / "search_spaces"
    own = folder.joinpath(name)
    if name in backends.names() and not own.is_dir():
        own = backends.search_spaces(name)
    files = [each for each in own.iterdir() if each.name.endswith(".toml")] if own.is_dir() else []
    return sorted(files, key=lambda each: each.name)


def digest(name: str, extra: Path | None) -> str:
    """Return a hash of a backend's shipped files and of a user's file; raises ConfigError."""
    total = hashlib.sha256()
    for file in (*shipped(name), *([extra] if extra else [])):
        total.update(hashlib.sha256(_content(file)).digest())
    return total.hexdigest()


def load(tunables: Tunables, direction: str, extra: Path | None = None) -> Space:
    """Return the shipped space of a direction, with what a user's file adds or replaces.

    The user's lists replace shipped ones of the same names, constraints are added, and the user's seeds come first.
    Raises ConfigError for files that can't be read, unknown names, and values that the backend doesn't take.
    """
    base, own = (
        [each.narrowed(tunables, direction) for each in files if each.direction in (None, direction)]
        for files in (
            [read(file, tunables) for file in shipped(tunables.name)],
            [read(extra, tunables)] if extra else [],
        )
    )
    lists = _joined(base)
    for file in base:
        file.check_seeds(lists)
    for file in own:
        lists |= file.parameters
        file.check_seeds(lists)
    constraints = tuple(rule for file in (*base, *own) for rule in file.constraints)
    for rule in constraints:
        rule.expression.check(tunables.rule_names(direction))
    seeds = (seed for file in (*own, *base) for seed in file.seeds)
    return Space(
        lists, constraints, tuple(seed for seed in seeds if all(value in lists[name] for name, value in seed.items()))
    )


def _joined(files: Iterable[SpaceFile]) -> dict[str, tuple[Value, ...]]:
    """Return the lists of all files; each parameter is in one file only."""
    lists: dict[str, tuple[Value, ...]] = {}
    owner: dict[str, str] = {}
    for file in files:
        for name, values in file.parameters.items():
            if name in lists:
                raise ConfigError(
                    f"{file.where}: {name!r} = {list(values)!r} is in {owner[name]} too.",
                    rule="Each parameter has one list.",
                    fix="Remove one of them, or override it with --space FILE.",
                )
            lists[name], owner[name] = values, file.where
    return lists


def read(file: Traversable, tunables: Tunables) -> SpaceFile:
    """Return what a file says; raises ConfigError."""
    where = str(file)
    try:
        content = tomllib.loads(_content(file).decode("utf-8"))
    except (ValueError, RecursionError) as error:  # also too many digits, and bytes that aren't UTF-8
        _fail(where, f"it is not valid TOML: {error}", "See search_spaces/README.md for the form.")
    _check_keys(where, content, KEYS, "A search space")
    direction = content.get("direction")
    if direction is not None and direction not in DIRECTIONS:
        _fail(where, f"direction = {direction!r}", f"It is one of {', '.join(DIRECTIONS)}, or left out for both.")
    title = content.get("title", "")
    if not isinstance(title, str):
        _fail(where, f"title = {title!r}", "It is a text.")
    values = _Values(where, tunables, tunables.names(direction))
    parameters = _table(where, content.get("parameters", {}), "[parameters]")
    return SpaceFile(
        where,
        title,
        direction,
        {name: values.listed(name, each) for name, each in parameters.items()},
        tuple(_constraint(where, each) for each in _tables(where, content, "constraints")),
        tuple(values.seed(each) for each in _tables(where, content, "seeds")),
    )


def _content(file: Traversable) -> bytes:
    """Return the bytes of a file; raises ConfigError for one that can't be read or is too large for a search space."""
    try:
        return storage.read(file, LARGEST) if isinstance(file, Path) else file.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{file}: it can't be read: {error.strerror or error}.",
            rule="A search space is a TOML file.",
            fix="Check the path; search_spaces/README.md has the form.",
        ) from error


@dataclass(frozen=True)
class _Values:
    """Checks the values of one file against the tunables of its direction."""

    where: str
    tunables: Tunables
    names: Sequence[str]

    def listed(self, name: str, values: object) -> tuple[Value, ...]:
        """Return the list of a parameter: values that the backend takes, in order."""
        quoted = f"{name!r} = {values!r}"
        if not isinstance(values, list) or not values or len(values) > MOST_ENTRIES:
            _fail(self.where, quoted, f"A parameter has a list of 1 to {MOST_ENTRIES} values.")
        for value in values:
            self._check(name, value)
        if len({type(value) for value in values}) > 1 or len(set(values)) < len(values):
            _fail(self.where, quoted, "Its values are of one type, and each is there once.")
        if type(values[0]) is int and values != sorted(values):
            _fail(self.where, quoted, "Numbers ascend, so that neighbours in the list are alike.")
        return tuple(values)

    def seed(self, seed: Mapping[str, Any]) -> Candidate:
        """Return a part of a candidate."""
        for name, value in seed.items():
            self._check(name, value)
        return dict(seed)

    def _check(self, name: str, value: object) -> None:
        if name not in self.names:
            rule = f"What {self.tunables.name} leaves open is {', '.join(self.names)}."
            _fail(self.where, f"unknown parameter {name!r}", rule, nearest(name, self.names))
        try:
            check_value(name, value)
            self.tunables.check({name: value})
        except ConfigError as error:
            _fail(self.where, f"{name!r} has {value!r}", error.rule, error.fix)


def _constraint(where: str, table: Mapping[str, Any]) -> Constraint:
    _check_keys(where, table, ("rule", "why"), "A constraint")
    why = table.get("why", "")
    if "rule" not in table or not isinstance(why, str):
        _fail(where, f"constraint {dict(table)!r}", "A constraint has a `rule`, and a `why` that is a text.")
    parsed = expression.parse(table["rule"], where)
    return Constraint(parsed.text, why, where, parsed)


def _tables(where: str, content: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    tables = content.get(key, [])
    if not isinstance(tables, list) or len(tables) > MOST_ENTRIES:
        _fail(where, f"{key} = {str(tables)[:80]}", f"There are up to {MOST_ENTRIES} tables, each headed [[{key}]].")
    return [_table(where, each, f"[[{key}]]") for each in tables]


def _table(where: str, value: object, heading: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        _fail(where, f"{heading} holds {str(value)[:80]!r}", "It is a table.")
    return value


def _check_keys(where: str, table: Mapping[str, Any], keys: Sequence[str], what: str) -> None:
    for key in table:
        if key not in keys:
            _fail(where, f"unknown key {key!r}", f"{what} has {', '.join(keys)}.", nearest(key, keys))


def _fail(where: str, problem: str, rule: str, fix: str = "") -> NoReturn:
    raise ConfigError(f"{where}: {problem}.", rule=rule, fix=fix)
