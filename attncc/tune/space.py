"""Search spaces: ordered lists of values, constraints between them, and seeds; which candidates there are."""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from attncc.errors import ConfigError, nearest
from attncc.tune.expression import Expression, Names
from attncc.tune.tunables import Candidate, Value

Facts = Mapping[str, object]
#: A candidate as the index of each value in its ordered list.
Point = tuple[int, ...]
#: Combinations of a space's values, before constraints, that are still gone through.
MOST = 1_000_000


@dataclass(frozen=True)
class Constraint:
    """A rule that candidates keep, and why; `where` names its file."""

    rule: str
    why: str
    where: str
    expression: Expression = field(compare=False, repr=False)

    @property
    def parameters(self) -> set[str]:
        """The names in the rule, those of defaults as the parameters that they are the defaults of."""
        return {name.removeprefix("default.") for name in self.expression.names}

    def holds(self, names: Names) -> bool:
        """Return whether a candidate, with the facts, keeps the rule; raises ConfigError."""
        value = self.expression(names)
        if not isinstance(value, bool):
            raise ConfigError(
                f"{self.where}: rule {self.rule!r} is {value!r}.",
                rule="A rule is True or False.",
                fix="Compare two values in it, as in `tile_m <= 128`.",
            )
        return value


@dataclass(frozen=True)
class Space:
    """What one direction of a backend is tuned over (attncc.tune.space_files reads it).

    Attributes:
        parameters: Ordered lists of values; neighbours are alike. A candidate has a value of each list.
        constraints: Rules over parameters, facts and defaults.
        seeds: Parts of candidates to try first.
        default: Values that run without any config (see `including`).
    """

    parameters: Mapping[str, tuple[Value, ...]]
    constraints: tuple[Constraint, ...] = ()
    seeds: tuple[Candidate, ...] = ()
    default: Candidate = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.parameters:
            raise ConfigError("The search space is empty.", rule="It has at least one parameter.", fix=_ADD)
        if self.size > MOST:
            raise ConfigError(
                f"The search space has {self.size} combinations.",
                rule=f"There are at most {MOST}.",
                fix="Shorten the longest lists of [parameters]; constraints come after that.",
            )

    @property
    def size(self) -> int:
        """Combinations before constraints."""
        return math.prod(map(len, self.parameters.values()))

    def including(self, default: Candidate) -> Space:
        """Return the space with the default's values in the lists; no constraint excludes it then."""
        own = {name: default[name] for name in self.parameters}
        lists = {name: _with(values, own[name]) for name, values in self.parameters.items()}
        return replace(self, parameters=lists, default=own)

    def feasible(self, facts: Facts) -> list[dict[str, Value]]:
        """Return the candidates that keep all constraints, and the default, in lexicographic order of the lists.

        Raises ConfigError where the constraints leave nothing, and what evaluating them raises.
        """
        kept = list(_kept(self.parameters, self.constraints, self._names(facts)))
        if not kept:
            raise self._nothing(facts)
        if self.default and self.default not in kept:
            bisect.insort(kept, dict(self.default), key=self.point)
        return kept

    def admits(self, candidate: Candidate, facts: Facts) -> bool:
        """Return whether a candidate is the default or keeps all constraints."""
        names = {**self._names(facts), **candidate}
        return candidate == self.default or all(constraint.holds(names) for constraint in self.constraints)

    def removed(self, facts: Facts) -> list[tuple[Constraint, int]]:
        """Return how many of all combinations each constraint would remove by itself."""
        names = self._names(facts)
        alone = []
        for constraint in self.constraints:
            own = {name: self.parameters[name] for name in self.parameters if name in constraint.expression.names}
            others = self.size // math.prod(map(len, own.values()))
            alone.append((constraint, self.size - others * _count(own, (constraint,), names)))
        return alone

    def seeded(self, facts: Facts) -> list[dict[str, Value]]:
        """Return the default, then the feasible seeds completed with it, each once; needs `including`."""
        candidates = [dict(self.default)]
        for seed in self.seeds:
            candidate = {**self.default, **seed}
            if self.contains(candidate) and candidate not in candidates and self.admits(candidate, facts):
                candidates.append(candidate)
        return candidates

    def contains(self, candidate: Candidate) -> bool:
        """Return whether a candidate has a value of each list, and no other."""
        same = candidate.keys() == self.parameters.keys()
        return same and all(candidate[name] in values for name, values in self.parameters.items())

    def point(self, candidate: Candidate) -> Point:
        """Return the indices of a candidate's values in their lists; raises ConfigError for one that isn't there."""
        if candidate.keys() != self.parameters.keys():
            differing = sorted(candidate.keys() ^ self.parameters.keys())
            raise ConfigError(
                f"A candidate has or lacks {', '.join(differing)}.",
                rule="It has a value for each parameter of the space, and no other.",
                fix=nearest(differing[0], self.parameters),
            )
        return tuple(_index(name, values, candidate[name]) for name, values in self.parameters.items())

    def candidate(self, point: Point) -> dict[str, Value]:
        """Return the candidate of a point, its values in the order of `parameters`."""
        pairs = zip(self.parameters.items(), point, strict=True)
        return {name: values[index] for (name, values), index in pairs}

    def changes(self, point: Point) -> int:
        """Return the number of values in which a candidate differs from the default."""
        return sum(self.default[name] != value for name, value in self.candidate(point).items())

    def told(self, candidate: Mapping[str, object]) -> str:
        """Return the values in which a candidate differs from the default, in words."""
        changed = [f"{name}={value}" for name, value in candidate.items() if value != self.default.get(name)]
        return ", ".join(changed) or "the default"

    def _names(self, facts: Facts) -> dict[str, object]:
        return {**facts, **{f"default.{name}": value for name, value in self.default.items()}}

    def _nothing(self, facts: Facts) -> ConfigError:
        """Return the error that names the constraint after which nothing is left."""
        names, counts = self._names(facts), range(len(self.constraints) + 1)
        left = [_count(self.parameters, self.constraints[:count], names) for count in counts]
        last = self.constraints[left.index(0) - 1]
        alone = not _count(self.parameters, (last,), names)
        asked = sorted(last.expression.names)
        lists = ", ".join(f"{name} = {list(self.parameters[name])}" for name in asked if name in self.parameters)
        known = ", ".join(f"{name} is {facts[name]!r}" for name in asked if name in facts)
        removes = f"all {self.size} combinations" if alone else f"the last {left[left.index(0) - 1]} combinations"
        return ConfigError(
            f"{last.where}: rule {last.rule!r} removes {removes}. {last.why}".strip(),
            rule=f"Constraints leave something to choose. {f'Here {known}.' if known else ''}".strip(),
            fix=f"Relax the rule{f', or change the lists: {lists}' if lists else ''}.",
        )


_ADD = "Give --space FILE with [parameters], or name a backend that has a search space."


def _kept(
    lists: Mapping[str, tuple[Value, ...]], constraints: Sequence[Constraint], names: Mapping[str, object]
) -> Iterator[dict[str, Value]]:
    """Yield the candidates that keep all constraints; each constraint is checked as soon as its parameters are set."""
    order = list(lists)
    due: list[list[Constraint]] = [[] for _ in range(len(order) + 1)]
    for constraint in constraints:
        depths = [order.index(name) + 1 for name in constraint.expression.names if name in lists]
        due[max(depths, default=0)].append(constraint)
    known, candidate = dict(names), dict[str, Value]()

    def below(depth: int) -> Iterator[dict[str, Value]]:
        if not all(constraint.holds(known) for constraint in due[depth]):
            return
        if depth == len(order):
            yield dict(candidate)
            return
        for value in lists[order[depth]]:
            known[order[depth]] = candidate[order[depth]] = value
            yield from below(depth + 1)

    return below(0)


def _count(
    lists: Mapping[str, tuple[Value, ...]], constraints: Sequence[Constraint], names: Mapping[str, object]
) -> int:
    return sum(1 for _ in _kept(lists, constraints, names))


def _with(values: tuple[Value, ...], added: Value) -> tuple[Value, ...]:
    """Return the list with a value in its place; texts come first."""
    if added in values:
        return values
    return tuple(sorted((*values, added))) if isinstance(added, int) else (added, *values)


def _index(name: str, values: tuple[Value, ...], value: Value) -> int:
    if value not in values:
        raise ConfigError(
            f"{name}={value!r} is not in the search space.",
            rule=f"Its values are {list(values)}.",
            fix="Take one of these, or add it to [parameters] with --space FILE.",
        )
    return values.index(value)
