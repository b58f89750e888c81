"""Documents that change from step to step, planned ahead, on gloo processes."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    "settings",
    [{}, {"partition": "zigzag", "stages": 2}, {"spread": 2}],
    ids=str,
)
def test_changing_documents_agree_with_one_process(world, settings: dict[str, object]) -> None:
    found = world(4).run("jobs_replanned.documents_that_change", settings)[0]
    assert len(set(found)) > 1  # other documents, other bytes


@pytest.mark.parametrize("job", ["planned_while_a_step_runs", "errors_of_planning_ahead"])
def test_planning_ahead_overlaps_steps_and_raises_errors_in_turn(world, job: str) -> None:
    world(2).run(f"jobs_replanned.{job}")


def test_all_ranks_refuse_tables_that_differ(world) -> None:
    world(4).run("jobs_replanned.replanned_tables_that_differ")


def test_ranks_take_the_choice_of_a_schedule_that_any_of_them_has_kept(world) -> None:
    found = world(2).run("jobs_replanned.choices_that_one_rank_has_kept")
    assert found[0] == found[1]
    settings, simulations = zip(*found[0], strict=True)
    assert simulations == (1, 0, 0, 1)
    assert settings[0] != settings[1] == settings[2]
    assert "cyclic" in settings[1]
