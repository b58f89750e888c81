"""Search spaces: candidates in order, constraints, seeds, the default, and errors with a fix."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attncc.errors import ConfigError
from attncc.tune.expression import parse
from attncc.tune.space import Constraint, Space
from attncc.tune.tunables import Candidate, Value

LISTS: Mapping[str, tuple[Value, ...]] = {
    "forward.plan": ("cheapest", "split"),
    "forward.query_tile": (16, 32, 128),
    "forward.chunk": (1024, 4096),
}
DEFAULT: Candidate = {"forward.plan": "cheapest", "forward.query_tile": 64, "forward.chunk": 4096, "forward.core": 1}
FACTS = {"q_len": 32, "ways": ("cheapest", "split")}


def constraint(rule: str, why: str = "It is so.") -> Constraint:
    return Constraint(rule, why, "space.toml", parse(rule, "space.toml"))


def space(*rules: str, seeds: tuple[Candidate, ...] = ()) -> Space:
    return Space(LISTS, tuple(map(constraint, rules)), seeds)


def test_candidates_come_in_lexicographic_order() -> None:
    found = space()
    assert found.size == 12
    expected = [dict(zip(LISTS, values, strict=True)) for values in itertools.product(*LISTS.values())]
    assert found.feasible({}) == expected


def test_constraints_remove_infeasible_candidates() -> None:
    found = space("forward.query_tile <= q_len", "forward.plan == 'cheapest' or forward.chunk == 1024")
    kept = [tuple(each.values()) for each in found.feasible(FACTS)]
    assert kept == [
        ("cheapest", 16, 1024),
        ("cheapest", 16, 4096),
        ("cheapest", 32, 1024),
        ("cheapest", 32, 4096),
        ("split", 16, 1024),
        ("split", 32, 1024),
    ]


def test_removals_are_counted_per_constraint() -> None:
    rules = ("forward.query_tile <= q_len", "forward.plan == 'cheapest' or forward.chunk == 1024", "q_len > 1")
    counted = space(*rules).removed(FACTS)
    assert [(each.rule, count) for each, count in counted] == list(zip(rules, (4, 3, 0), strict=True))
    assert len(space(*rules).feasible(FACTS)) == 6


RULES = st.sampled_from(
    [
        "forward.query_tile <= q_len",
        "forward.plan in ways",
        "forward.plan == 'split' or forward.chunk > 2000",
        "forward.query_tile * forward.chunk < 100000",
        "forward.chunk % 3 == 1",
        "q_len > 8",
    ]
)


@given(st.lists(RULES, unique=True), st.integers(16, 200))
def test_enumeration_agrees_with_testing_each_candidate(rules: list[str], q_len: int) -> None:
    facts = {"q_len": q_len, "ways": ("cheapest",)}
    found = space(*rules)
    assert found.feasible(facts) == [each for each in space().feasible({}) if found.admits(each, facts)]


def test_defaults_are_inserted_in_order() -> None:
    found = space().including({**DEFAULT, "forward.plan": "fused"})
    assert found.parameters["forward.query_tile"] == (16, 32, 64, 128)
    assert found.parameters["forward.chunk"] == (1024, 4096)
    assert found.parameters["forward.plan"] == ("fused", "cheapest", "split")
    assert "forward.core" not in found.default


def test_the_default_is_a_candidate_under_any_constraints() -> None:
    found = space("forward.query_tile != default.forward.query_tile").including(DEFAULT)
    kept = found.feasible(FACTS)
    assert kept == sorted(kept, key=found.point)
    assert [each["forward.query_tile"] for each in kept].count(64) == 1
    assert found.default in kept
    assert found.admits(found.default, FACTS)
    assert len(kept) == 13


def test_seeds_are_completed_and_infeasible_ones_dropped() -> None:
    seeds: tuple[Candidate, ...] = (
        {"forward.query_tile": 128},
        {"forward.query_tile": 16},
        {"forward.plan": "split", "forward.chunk": 1024},
        {"forward.query_tile": 64},
        {"forward.query_tile": 7},
    )
    found = space("forward.query_tile < 128", seeds=seeds).including(DEFAULT)
    assert [tuple(each.values()) for each in found.seeded(FACTS)] == [
        ("cheapest", 64, 4096),
        ("cheapest", 16, 4096),
        ("split", 64, 1024),
    ]


def test_indices_round_trip() -> None:
    found = space()
    for number, candidate in enumerate(found.feasible({})):
        indices = found.point(candidate)
        assert found.candidate(indices) == candidate
        assert number == (indices[0] * 3 + indices[1]) * 2 + indices[2]
    with pytest.raises(ConfigError, match=r"forward\.chunk=5 is not in"):
        found.point(_odd())
    with pytest.raises(ConfigError, match=r"has or lacks forward\.core"):
        found.point({**_odd(), "forward.core": 1})


def _odd() -> Candidate:
    return {"forward.plan": "split", "forward.query_tile": 16, "forward.chunk": 5}


def test_unsatisfiable_constraints_name_the_culprit() -> None:
    with pytest.raises(ConfigError) as raised:
        space("q_len > 1", "forward.query_tile < q_len - 20").including(DEFAULT).feasible(FACTS)
    error = raised.value
    assert "'forward.query_tile < q_len - 20' removes all 16 combinations. It is so." in error.problem
    assert "q_len is 32" in error.rule
    assert "forward.query_tile = [16, 32, 64, 128]" in error.fix


def test_jointly_unsatisfiable_constraints_name_the_last() -> None:
    rules = ("forward.query_tile > 16", "forward.chunk == 1024", "forward.query_tile == 16", "q_len > 1")
    with pytest.raises(ConfigError, match=r"'forward\.query_tile == 16' removes the last 4 combinations"):
        space(*rules).feasible(FACTS)


def test_rules_must_be_conditions() -> None:
    with pytest.raises(ConfigError, match=r"space\.toml: rule 'q_len' is 32"):
        space("q_len").feasible(FACTS)


def test_empty_and_vast_spaces_are_refused() -> None:
    with pytest.raises(ConfigError, match="empty"):
        Space({})
    names = ("forward.query_tile", "forward.chunk", "forward.core")
    with pytest.raises(ConfigError, match="1030301 combinations"):
        Space({name: tuple(range(1, 102)) for name in names})
    assert Space({name: tuple(range(1, 101)) for name in names}).size == 1_000_000
