"""Flows: reversed, renumbered, concatenated and summed."""

from __future__ import annotations

import numpy as np
from stars import flow

from attncc.distributed.schedules.traffic import Flow, nothing

MOVED = flow((0, 1, 5), (2, 0, 7))


def entries(found: Flow) -> list[tuple[int, int, int]]:
    return list(zip(found.source.tolist(), found.target.tolist(), found.bytes.tolist(), strict=True))


def test_reversed_flows_swap_source_and_target() -> None:
    assert entries(MOVED.reversed()) == [(1, 0, 5), (0, 2, 7)]
    assert MOVED.reversed().reversed().same(MOVED)


def test_flows_are_renumbered_among_all_ranks() -> None:
    assert entries(MOVED.among(np.array([4, 9, 6]))) == [(4, 9, 5), (6, 4, 7)]


def test_together_keeps_all_entries() -> None:
    found = Flow.together([MOVED, nothing(), flow((0, 1, 1))])
    assert entries(found) == [(0, 1, 5), (2, 0, 7), (0, 1, 1)]
    assert (found.total, found.sent(3).tolist(), found.received(3).tolist()) == (13, [6, 0, 7], [7, 6, 0])


def test_sums_have_one_entry_a_communicating_pair() -> None:
    found = Flow.together([MOVED, flow((0, 1, 1), (1, 2, 0))]).summed(3)
    assert entries(found) == [(0, 1, 6), (2, 0, 7)]


def test_groups_are_folded_onto_each_other() -> None:
    assert entries(flow((0, 1, 5), (2, 3, 6), (3, 2, 1)).folded(2)) == [(0, 1, 11), (1, 0, 1)]


def test_empty_flows_have_no_entries() -> None:
    for found in (nothing(), nothing().reversed(), nothing().summed(4), Flow.together(())):
        assert entries(found) == []
        assert found.bytes.dtype == np.int64
    assert not nothing().same(MOVED)
