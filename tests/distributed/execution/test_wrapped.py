"""Gradients of a model and its score's weights under DistributedDataParallel and FSDP, on gloo processes."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize("dims", [{"sequence": 2}, {"sequence": 4}, {"heads": 2, "sequence": 2}], ids=str)
def test_data_parallel_gradients_agree_with_one_process(world, dims: dict[str, int]) -> None:
    world(2 if dims == {"sequence": 2} else 4).run("jobs_wrapped.data_parallel", "global", dims)


@pytest.mark.parametrize("ranks", [2, 4])
def test_fully_sharded_gradients_agree_with_one_process(world, ranks: int) -> None:
    world(ranks).run("jobs_wrapped.fully_sharded", "global")


def test_sharded_weights_are_refused_at_compilation(world) -> None:
    world(2).run("jobs_wrapped.sharded_weights")


@pytest.mark.parametrize("ranks", [2, 4])
def test_fully_sharded_weight_gradients_agree_with_one_process(world, ranks: int) -> None:
    world(ranks).run("jobs_wrapped.fully_sharded_with_its_weights", "global")
