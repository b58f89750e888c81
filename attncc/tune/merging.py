"""Merging the files of a search space: those that are shipped for a direction, and a user's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from attncc.errors import ConfigError
from attncc.tune import files, parameters, sources
from attncc.tune.files import Constraint, Family
from attncc.tune.kind import Candidate, Value


def merged(backend: str, direction: str, extra: Path | None) -> Family:
    """Return all that the shipped files and a user's say of a direction; raises ConfigError."""
    shipped = [files.read(file, backend) for file in sources.shipped(backend)]
    base = _joined([_only(family, backend, direction) for family in shipped if family.direction in (None, direction)])
    if extra is None:
        return base
    users = files.read(extra, backend)
    if users.direction not in (None, direction):
        return base
    return _overridden(base, _only(users, backend, direction))


def _only(family: Family, backend: str, direction: str) -> Family:
    """Return what a file says of one direction: a file of both may name parameters, rules and seeds of the other."""
    own = set(parameters.names(backend, direction))
    others = set(parameters.names(backend)) - own
    seeds = [{name: value for name, value in seed.items() if name in own} for seed in family.seeds]
    return Family(
        family.where,
        family.title,
        direction,
        {name: values for name, values in family.parameters.items() if name in own},
        tuple(rule for rule in family.constraints if not _names(rule) & others),
        tuple(seed for seed in seeds if seed),
    )


def _names(constraint: Constraint) -> set[str]:
    """Return the parameters that a rule names, also by their defaults."""
    return {name.removeprefix("default.") for name in constraint.expression.names}


def _joined(families: Iterable[Family]) -> Family:
    """Return the families as one; each parameter is in one file only."""
    lists: dict[str, tuple[Value, ...]] = {}
    owner: dict[str, str] = {}
    constraints: list[Constraint] = []
    seeds: list[Candidate] = []
    for family in families:
        for name, values in family.parameters.items():
            if name in lists:
                raise ConfigError(
                    f"{family.where}: {name!r} = {list(values)!r} is in {owner[name]} too.",
                    rule="Each parameter has one list.",
                    fix="Remove one of them, or override it with --space FILE.",
                )
            lists[name], owner[name] = values, family.where
        constraints += family.constraints
        seeds += family.seeds
    found = Family("", "", None, lists, tuple(constraints), tuple(seeds))
    _check_seeds(families, lists)
    return found


def _overridden(base: Family, users: Family) -> Family:
    """Return the shipped families with a user's: its lists replace those of the same names, the rest is added."""
    lists = {**base.parameters, **users.parameters}
    _check_seeds([users], lists)
    left = [seed for seed in base.seeds if all(value in lists[name] for name, value in seed.items())]
    return Family(users.where, users.title, None, lists, (*base.constraints, *users.constraints), (*users.seeds, *left))


def _check_seeds(families: Iterable[Family], lists: Mapping[str, tuple[Value, ...]]) -> None:
    """Raise ConfigError for a seed with a value that isn't in its list."""
    for family in families:
        for name, value in ((name, value) for seed in family.seeds for name, value in seed.items()):
            if value not in lists.get(name, ()):
                listed = list(lists.get(name, ()))
                raise ConfigError(
                    f"{family.where}: a seed has {name!r} = {value!r}, which is not a choice.",
                    rule=f"The list of {name} is {listed}." if listed else f"{name} has no list in [parameters].",
                    fix=f"Add it to the list of {name}.",
                )
