"""Lists of keys on gloo processes: ranks exchange the rows that are named, forward and backward."""

from __future__ import annotations

import pytest

EXCHANGES = [{}, {"partition": "zigzag", "stages": 2}, {"route": "ring"}, {"route": "tree"}, {"spread": 2}]


@pytest.mark.parametrize("settings", EXCHANGES, ids=str)
def test_lists_that_change_agree_with_one_process(world, settings: dict[str, object]) -> None:
    steps = world(4).run("jobs_lists.lists_that_change", "keys", settings)[0]
    assert all(sent < whole for sent, whole in steps)


def test_lists_of_blocks_agree_with_one_process(world) -> None:
    steps = world(2).run("jobs_lists.lists_that_change", "blocks", {})[0]
    assert all(sent <= whole for sent, whole in steps)
