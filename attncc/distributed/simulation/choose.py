"""The choice of a schedule: partitions and exchanges tried in simulation, the fastest one first."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from importlib.util import find_spec
from types import MappingProxyType
from typing import Any

from attncc.distributed.schedules.problem import PartitioningProblem
from attncc.distributed.schedules.settings import Settings
from attncc.distributed.schedules.sharing import Sharing, possible_sharings
from attncc.distributed.simulation.ranking import below, ranked
from attncc.distributed.simulation.scenario import Candidate, Scenario
from attncc.errors import PlanError

#: Partitions that are tried, and how many of the promising ones with every exchange.
PARTITIONS = ("contiguous", "balanced", "zigzag", "cyclic", "classes", "longest_first")
FINALISTS = 2
#: Rounds that a direct exchange is spread over.
STAGES = (0, 2, 4, 8)
#: Ranks up to which passing units round a ring is tried: it takes a round for each.
MOST_IN_RING = 16

#: Called with the name of each step before it begins.
Progress = Callable[[str], None]


def choose(
    scenario: Scenario,
    sharings: Iterable[Sharing] | None = None,
    on_step: Progress = lambda name: None,
    fixed: Mapping[str, Any] = MappingProxyType({}),
) -> list[Candidate]:
    """Return the candidates for a scenario, the fastest first; of equally fast ones, the one that was tried first.

    Every partition is tried first with a direct exchange in one round. Then come other exchanges for the finalists, and
    rings as in the baselines. Other stages are tried only where hiding more could make one the fastest.

    Args:
        sharings: How ranks may share what there is; by default all share the sequence, and groups of neighbours may
            swap it for heads.
        fixed: Fields of Settings that all candidates have.
    """
    tried: list[Candidate] = []
    if sharings is None:
        sharings = possible_sharings(scenario.topology.count, scenario.inputs.kv_heads)
    for sharing in sharings:
        names = (*PARTITIONS, "hypergraph") if find_spec("mtkahypar") else PARTITIONS
        bases = dict.fromkeys(replace(Settings(name), **fixed) for name in names)
        first = list(_tried(scenario, sharing, _different(scenario.problem(sharing), bases, on_step), on_step))
        tried += first
        for best in finalists(first):
            reached = min(each.seconds for each in tried)
            hopeful = below(best.lower_bound, reached)
            others = [
                each
                for each in exchanges(best.settings, scenario, sharing)
                if replace(each, **fixed) == each != best.settings and (each.route != "direct" or hopeful)
            ]
            tried += _tried(scenario, sharing, others, on_step)
        done = {each.settings for each in tried if each.sharing == sharing}
        rings = [each for each in baseline_rings(sharing, fixed) if each not in done]
        tried += _tried(scenario, sharing, rings, on_step)
    return ranked(tried, _seconds)


def _different(problem: PartitioningProblem, bases: Iterable[Settings], on_step: Progress) -> list[Settings]:
    """Return the settings whose partitions differ: with one part all are alike, and not every pattern has classes.

    A partition that can't be made for the pattern is reported and left out, unless it is the only one.
    """
    found: dict[tuple[object, ...], Settings] = {}
    refused: list[PlanError] = []
    for each in bases:
        try:
            partition = problem.partition(each)
        except PlanError as error:
            on_step(f"{each.partition} is left out: {error.problem}")
            refused.append(error)
        else:
            found.setdefault((partition.chunking, partition.owner.tobytes()), each)
    if not found:
        raise refused[0]
    return list(found.values())


def finalists(first: Iterable[Candidate]) -> list[Candidate]:
    """Return the candidates to try with every exchange: the fastest, and those that would be if all were hidden."""
    by_seconds = ranked(first, _seconds)
    by_lower_bound = ranked(by_seconds, lambda each: each.lower_bound)
    return list(dict.fromkeys([*by_seconds[:1], *by_lower_bound[:FINALISTS]]))


def exchanges(base: Settings, scenario: Scenario, sharing: Sharing) -> list[Settings]:
    """Return the exchanges to try with a partition, besides all at once in one round."""
    if sharing.parts == 1:
        return []
    nodes = len(set(scenario.topology.node.tolist()))
    found = [replace(base, route="direct", stages=stages) for stages in STAGES if stages <= max(2, sharing.parts)]
    found += [replace(base, route="tree", fanout=fanout) for fanout in fanouts(nodes)]
    return found + ([replace(base, route="ring")] if sharing.parts <= MOST_IN_RING else [])


def fanouts(nodes: int) -> list[int]:
    """Return the fanout to try in a tree: all nodes in one round, while they are few, or in two; none for one node."""
    return [] if nodes == 1 else [nodes - 1 if nodes <= MOST_IN_RING else math.isqrt(nodes - 1)]


def baseline_rings(sharing: Sharing, fixed: Mapping[str, Any]) -> list[Settings]:
    """Return the settings that do what ring and striped ring do, but send only what is needed."""
    if not 1 < sharing.parts <= MOST_IN_RING:
        return []
    found = [replace(Settings(**fixed), partition=name, route="ring") for name in ("contiguous", "cyclic")]
    return [each for each in found if replace(each, **fixed) == each]


def _tried(
    scenario: Scenario, sharing: Sharing, settings: Iterable[Settings], on_step: Progress
) -> Iterator[Candidate]:
    for each in settings:
        on_step(f"{each.partition}, {each.route}, {each.stages} stages")
        yield scenario.candidate(each, sharing)


def _seconds(candidate: Candidate) -> float:
    return candidate.seconds
