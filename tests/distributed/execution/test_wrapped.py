"""Gradients of a model, its score's weights among them, under DistributedDataParallel and FSDP, on gloo processes."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize("dims", [{"sequence": 2}, {"sequence": 4}, {"heads": 2, "sequence": 2}], ids=str)
def test_data_parallel(world, dims: dict[str, int]) -> None:
    world(2 if dims == {"sequence": 2} else 4).run("jobs_wrapped.data_parallel", "global", dims)


@pytest.mark.parametrize("ranks", [2, 4])
def test_fully_sharded(world, ranks: int) -> None:
    world(ranks).run("jobs_wrapped.fully_sharded", "global")


def test_weights_that_are_sharded_are_refused(world) -> None:
    world(2).run("jobs_wrapped.sharded_weights")


@pytest.mark.parametrize("ranks", [2, 4])
def test_fully_sharded_with_its_weights(world, ranks: int) -> None:
    world(ranks).run("jobs_wrapped.fully_sharded_with_its_weights", "global")
