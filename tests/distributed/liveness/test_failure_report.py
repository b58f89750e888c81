"""Heartbeats, and the rank that they blame."""

from __future__ import annotations

from dataclasses import replace

from attncc.distributed.liveness.failure_report import FailureReport, Heartbeat, blame


def heartbeats(moved=1, waiting=None, **entered):
    """Two readings of ranks' heartbeats: entered counts of the group "g" by rank, as r0=3."""
    counts = {int(name[1:]): count for name, count in entered.items()}
    before = {rank: Heartbeat("a", 10, {"g": count}, None, "round 1", False) for rank, count in counts.items()}
    now = {
        rank: Heartbeat("a", 10 + moved, {"g": count}, (waiting or {}).get(rank), "round 1", False)
        for rank, count in counts.items()
    }
    return before, now


def blamed(before, now, ranks=(0, 1, 2)):
    found = blame(before, now, ranks, "g", 2.5)
    return None if found is None else found.rank


def test_a_rank_without_a_new_heartbeat_is_blamed():
    before, now = heartbeats(r0=3, r1=3, r2=3)
    assert blamed(before, now | {2: before[2]}) == 2


def test_a_silent_rank_is_blamed_before_a_late_one():
    before, now = heartbeats(r0=3, r1=2, r5=1)
    assert blamed(before, now | {5: before[5]}, (0, 1)) == 5


def test_a_missing_rank_is_blamed():
    before, now = heartbeats(r0=1, r2=1)
    found = blame(before, now, (0, 1, 2), "g", 2.5)
    assert found is not None
    assert found.rank == 1
    assert "not come" in found.why


def test_a_late_rank_is_blamed():
    assert blamed(*heartbeats(r0=4, r1=3, r2=4)) == 1


def test_a_rank_in_another_exchange_is_blamed():
    before, now = heartbeats(r0=4, r1=4, r2=4)
    now |= {2: replace(now[2], last="the comparison of sizes, bfloat16")}
    found = blame(before, now, (0, 1, 2), "g", 2.5)
    assert found is not None
    assert found.rank == 2
    assert "ranks 0, 1 in round 1; rank 2 in the comparison of sizes, bfloat16" in found.why


def test_no_rank_is_blamed_if_all_are_present():
    assert blamed(*heartbeats(r0=4, r1=4, r2=4)) is None


def test_blame_follows_waits_in_other_groups():
    before, now = heartbeats(r0=4, r1=3, r2=4, waiting={1: "other"})
    now |= {
        1: Heartbeat("a", 11, {"g": 3, "other": 7}, "other", "round 1", False),
        7: Heartbeat("a", 11, {"other": 6}, None, "round 1", False),
    }
    assert blamed(before, now) == 7


def test_a_deadlock_blames_one_of_its_ranks():
    before, now = heartbeats(r0=4, r1=3)
    now |= {
        0: Heartbeat("a", 11, {"g": 4, "h": 1}, "g", "round 1", False),
        1: Heartbeat("a", 11, {"g": 3, "h": 2}, "h", "round 1", False),
    }
    assert blamed(before, now, (0, 1)) in (0, 1)


def test_heartbeats_and_reports_round_trip_through_the_store():
    heartbeat, failure_report = (
        Heartbeat("a", 3, {"g": 2}, "g", "round 1", True),
        FailureReport(None, "is gone", {"0": "a"}),
    )
    assert Heartbeat.of(heartbeat.text()) == heartbeat
    assert FailureReport.of(failure_report.text()) == failure_report


def test_a_report_covers_only_the_processes_it_lists():
    before, now = heartbeats(r0=4, r1=3)
    found = blame(before, now, (0, 1), "g", 2.5)
    assert found is not None
    assert found.is_on(0, "a")
    assert not found.is_on(0, "b")  # a new process with the same rank
    assert not found.is_on(2, "a")
