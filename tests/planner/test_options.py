"""The planner's part of a configuration."""

from __future__ import annotations

import pytest
import torch

import attncc
from attncc.planner.options import PlanOptions, separated
from attncc.testing.oracle import Problem

STRIDED = attncc.load("strided", l=8)


def test_configurations_are_separated_by_direction() -> None:
    config = {"forward.plan": "fused", "backward.tile_m": 32, "forward.chunk": 5}
    assert separated(config, "forward") == (PlanOptions("fused"), {"forward.chunk": 5})
    assert separated(config, "backward") == (PlanOptions(tile_m=32), {"forward.chunk": 5})


def test_the_preferred_alternative_runs() -> None:
    plan = attncc.plan(STRIDED, 256)
    other = plan.groups[0].alternatives[-1].name
    assert other != plan.groups[0].alternatives[0].name
    assert plan.preferring(other).groups[0].alternatives[0].name == other
    assert plan.preferring("cheapest").groups[0].alternatives == plan.groups[0].alternatives
    assert plan.preferring(other).nnz == plan.nnz


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"forward.plan": "fuse"}, "Did you mean 'fused'"),
        ({"backward.tile_m": 48}, "power of two"),
        ({"forward.tile_n": True}, "power of two"),
    ],
)
def test_invalid_choices_are_refused(config: dict[str, object], message: str) -> None:
    query, key, value = (torch.randn(1, 1, 32, 8, requires_grad=True) for _ in range(3))
    with pytest.raises(attncc.ConfigError, match=message):
        attncc.attention(query, key, value, STRIDED, config=config).sum().backward()


@pytest.mark.parametrize(
    "plans", [("fused", "split"), ("split", "fused"), ("fused", "mixed"), ("dense", "split"), ("mixed", "dense")]
)
def test_each_direction_runs_its_own_plan(plans: tuple[str, str]) -> None:
    problem = Problem.drawn(96, 96, batch=1, heads=2, kv_heads=2, head_dim=8, value_dim=8, dtype=torch.float64)
    config = {"forward.plan": plans[0], "backward.plan": plans[1], "backward.tile_m": 32, "backward.tile_n": 16}
    attncc.testing.check_attention(STRIDED, attncc.dense_mask(STRIDED, 96), problem, config=config)
