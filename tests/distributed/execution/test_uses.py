"""Uses in training code: copies of models, checkpointing, compiled graphs, wrong options."""

from __future__ import annotations

import pytest
from cases import N


@pytest.mark.parametrize(
    "job",
    [
        "copied_with_its_model",
        "held_weights_that_torch_replaces",
        "numbers_as_weights",
        "pickled",
        "two_in_turn",
        "in_compiled_code",
        "options_refused",
        "shards_refused",
        "sizes_that_differ",
        "transformed",
    ],
)
def test_operators_support_common_uses(world, job: str) -> None:
    world(4).run(f"jobs_uses.{job}")


@pytest.mark.parametrize("spread", [1, 2, 4])
def test_second_derivatives_are_refused(world, spread: int) -> None:
    """They must not silently count as 0."""
    world(4).run("jobs_uses.differentiated_twice", spread)


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing_gives_equal_gradients(world, reentrant: bool) -> None:
    world(4).run("jobs_uses.checkpointed", reentrant)


def test_stages_are_limited_by_the_number_of_units(world) -> None:
    """A billion stages would exhaust memory."""
    assert max(world(4).run("jobs_uses.more_stages_than_units")) <= N


def test_a_destroyed_group_is_an_error(world) -> None:
    two = world(2)
    two.run("jobs_uses.destroyed_group")
    two.stop()
