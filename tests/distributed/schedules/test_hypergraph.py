"""The hypergraph partition, where its package is installed."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import attncc
from attncc.backends.inputs import Inputs
from attncc.distributed.schedules import partitioners, traffic
from attncc.distributed.schedules.problem import PartitioningProblem
from attncc.distributed.schedules.settings import Settings
from attncc.errors import ConfigError, PlanError

INPUTS = Inputs(1, 2, 2, 16, 16, "fp32")


def scattered(length: int, groups: int) -> attncc.Pattern:
    """Blocks of 16 tokens, each in one of some groups, at random places."""
    blocks = np.random.default_rng(0).permutation(length // 16) % groups
    return attncc.load("document", ids=np.repeat(blocks, 16))


def bytes_of(problem: PartitioningProblem, name: str) -> int:
    schedule = problem.schedule(Settings(name, unit=16))
    return sum(flow.total for flow in traffic.forward(schedule, INPUTS))


def test_hypergraph_partitions_find_scattered_groups() -> None:
    pytest.importorskip("mtkahypar")
    problem = PartitioningProblem(scattered(1024, 4), 1024, 4, INPUTS)
    assert bytes_of(problem, "hypergraph") == 0
    assert bytes_of(problem, "contiguous") > 0


def test_hypergraph_partitions_are_deterministic() -> None:
    pytest.importorskip("mtkahypar")
    found = [
        PartitioningProblem(scattered(1024, 8), 1024, 3, INPUTS, slack=2.0).partition(Settings("hypergraph", unit=16))
        for _ in range(2)
    ]
    assert np.array_equal(found[0].owner, found[1].owner)


def test_dense_patterns_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mtkahypar")
    monkeypatch.setattr(partitioners, "MOST_PINS", 1000)
    with pytest.raises(PlanError, match="pairs of units"):
        PartitioningProblem(attncc.load("causal"), 1024, 4, INPUTS).partition(Settings("hypergraph", unit=16))


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    partitioners._library.cache_clear()
    monkeypatch.setitem(sys.modules, "mtkahypar", None)
    with pytest.raises(ConfigError, match=r"attncc\[hypergraph\]"):
        PartitioningProblem(attncc.load("causal"), 256, 4, INPUTS).partition(Settings("hypergraph"))
    partitioners._library.cache_clear()
