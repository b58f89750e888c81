"""The cost model of the torch backend must rank configurations as measurements do."""

from __future__ import annotations

import statistics

import pytest
from cost_cases import TORCH, Case, drawn, planned, timed
from fit_cost import spearman

from attncc.targets import target

CASES = [
    Case("strided l=128", 16384, "forward"),
    Case("256-window", 16384, "forward"),
    Case("bigbird", 16384, "forward"),
]


def predicted(case: Case, config: dict[str, object]) -> float:
    plan, rest = planned(case, config)
    return TORCH.predict(plan, case.inputs, case.direction, rest, target("cpu"))


@pytest.mark.timeout(900)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.pattern)
def test_predictions_rank_configurations_as_measurements_do(case: Case, benchmark, bar) -> None:
    configs = drawn(case, 50, seed=1000)
    benchmark.pedantic(lambda: [predicted(case, config) for config in configs], rounds=1)
    found = list(timed(case, configs, limit=120.0))
    expected = [predicted(case, config) for config, _ in found]
    least, middle = (
        spearman(expected, [each(taken) for _, taken in found]) for each in (min, statistics.median)
    )  # the minimum excludes other load
    what = f"rank of predicted and measured, {case.pattern} {case.direction}, N = 16,384, {len(found)} configs"
    bar(what, least, "at least 0.8 (Spearman)", f"by the fastest of their runs; {middle:.2f} by the median")
