"""The schedules of the million-scale study run on gloo processes: equal to one process, and to the byte as planned."""

from __future__ import annotations

import catalogue
import million_scale
import pytest

#: A length that fits, at which every pattern keeps its shape.
LENGTH = 512
#: What CI runs, on 4 ranks: families that no other test of schedules has.
QUICK = ("compressed_memory", "pooled", "neighborhood_2d", "bigbird", "retrieved")
CHOSEN = {
    row["pattern"]: row["chosen"]
    for row in million_scale.kept(million_scale.RESULTS).values()
    if row["topology"] == "gloo" and row["length"] == million_scale.LENGTHS[0]
}


def cases() -> list[object]:
    """Return (ranks, name) of every family on 2 and 4 ranks."""
    pairs = [(ranks, each.name) for ranks in (2, 4) for each in catalogue.entries()]
    slow = pytest.mark.slow
    return [pytest.param(*pair, marks=() if pair[0] == 4 and pair[1] in QUICK else slow) for pair in pairs]


@pytest.mark.parametrize(("ranks", "name"), cases())
def test_schedules_of_the_study_agree_with_one_process(world, ranks: int, name: str) -> None:
    settings = CHOSEN[name] | {"unit": 0, "spread": min(CHOSEN[name]["spread"], ranks)}
    world(ranks).run("catalogue_case", name, LENGTH, settings)
