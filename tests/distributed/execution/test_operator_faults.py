"""A rank is killed or stopped in the middle of an operator: every other rank names it in time."""

from __future__ import annotations

from pathlib import Path

import pytest
from faults import check, end, free_port, start

RANK = Path(__file__).with_name("faulty_operator.py")


def slow(*values: object):
    """Mark one of many values: each takes as long as a timeout."""
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("world", "name", "faulty", "fault"),
    [
        (4, "window", 3, "kill forward 0 after"),
        (3, "window", 0, "kill backward 0 before"),
        (4, "spread", 1, "stop backward 1 after"),
        slow(3, "causal", 2, "kill forward 1 before"),
        slow(4, "causal", 1, "kill backward 1 after"),
        slow(4, "window", 2, "kill backward 0 after"),
        slow(4, "window", 0, "stop forward 0 before"),
        slow(3, "causal", 1, "stop backward 2 before"),
        slow(4, "spread", 2, "kill forward 0 after"),
        slow(4, "spread", 0, "kill forward 2 before"),
    ],
)
def test_all_other_ranks_name_the_faulty_one(tmp_path, world: int, name: str, faulty: int, fault: str) -> None:
    processes = start(RANK, world, tmp_path, free_port(), name, str(faulty), *fault.split())
    assert end(processes, faulty), (tmp_path / "log").read_text()
    check(tmp_path, world, faulty, "on rank")
