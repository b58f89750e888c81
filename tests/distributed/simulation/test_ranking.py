"""Ranking: the fastest first, ties in order, independent of rounding."""

from __future__ import annotations

import itertools
from dataclasses import fields, replace

import pytest

import attncc
from attncc.backends.inputs import Inputs
from attncc.distributed.schedules.sharing import Sharing
from attncc.distributed.simulation.choose import choose
from attncc.distributed.simulation.ranking import TIE, below, ranked
from attncc.distributed.simulation.scenario import Candidate, Scenario
from attncc.distributed.simulation.timeline import Timeline
from attncc.distributed.topology import Topology


@pytest.mark.parametrize("noise", list(itertools.permutations((-TIE / 4, 0.0, TIE / 4))), ids=str)
def test_ties_rank_in_order(noise: tuple[float, ...]) -> None:
    seconds = {"contiguous": 2.0, "balanced": 1.0, "zigzag": 1.0, "cyclic": 1.0, "last": 0.5}
    for name, part in zip(("balanced", "zigzag", "cyclic"), noise, strict=True):
        seconds[name] *= 1 + part
    assert ranked(seconds, seconds.__getitem__) == ["last", "balanced", "zigzag", "cyclic", "contiguous"]


def test_candidates_faster_than_a_tie_rank_first() -> None:
    seconds = {"earlier": 1.0, "later": 1.0 - 3 * TIE}
    assert ranked(seconds, seconds.__getitem__) == ["later", "earlier"]


def test_zero_is_not_below_zero() -> None:
    assert not below(0.0, 0.0)
    assert ranked([], float) == []


def scaled(line: Timeline, factor: float) -> Timeline:
    return replace(line, **{each.name: getattr(line, each.name) * factor for each in fields(line)})


def test_rounding_does_not_change_the_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranks may round sums differently, so rounding must not decide among equally fast partitions."""
    inputs = Inputs(1, 2, 2, 16, 16, "fp32")
    scenario = Scenario(attncc.load("full"), 256, inputs, Topology.load("gloo").subset(2))

    def order(sign: int) -> list[object]:
        made = itertools.count(1)
        honest = Scenario.candidate

        def noisy(self: Scenario, *arguments: object) -> Candidate:
            found, factor = honest(self, *arguments), 1 + sign * next(made) * 1e-14
            return replace(found, timelines={way: scaled(line, factor) for way, line in found.timelines.items()})

        with monkeypatch.context() as patched:
            patched.setattr(Scenario, "candidate", noisy)
            return [each.settings for each in choose(scenario, [Sharing(parts=2)])]

    assert order(1) == order(-1)
