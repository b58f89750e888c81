"""Valid schedules, and what makes one invalid."""

from __future__ import annotations

from dataclasses import replace

import by_hand
import numpy as np
import pytest

import attncc
from attncc.distributed.execution.agreement import digest
from attncc.distributed.execution.tables import RankTables
from attncc.distributed.schedules.schedule import Moves, Schedule
from attncc.distributed.schedules.validation import check_schedule

PARTS = by_hand.partition("scattered", 61, 4, 4)
CAUSAL = attncc.load("causal")


def with_keys(schedule: Schedule, **columns: np.ndarray) -> Schedule:
    moves = schedule.head_classes[0].keys
    given = {name: getattr(moves, name) for name in ("round", "source", "target", "unit")} | columns
    return replace(schedule, head_classes=(replace(schedule.head_classes[0], keys=Moves.of(**given)),))


@pytest.mark.parametrize("style", by_hand.STYLES)
@pytest.mark.parametrize("route", by_hand.ROUTES)
def test_sent_rows_equal_expected_rows(style: str, route: str) -> None:
    made = by_hand.schedule(CAUSAL, PARTS, style=style, route=route, rounds=3)
    check_schedule(made)
    ranks = [RankTables.of(made, rank).head_classes[0] for rank in range(4)]
    for side, moves in (("keys", made.head_classes[0].keys), ("queries", made.head_classes[0].queries)):
        tables = [getattr(head_class, side) for head_class in ranks]
        sent = {(k, r, p.peer): p.rows.length for r, t in enumerate(tables) for k, ps in enumerate(t.sends) for p in ps}
        got = {(k, p.peer, r): p.rows.length for r, t in enumerate(tables) for k, ps in enumerate(t.gets) for p in ps}
        assert sent == got
        assert sum(sent.values()) == PARTS.chunking.sizes[moves.unit].sum()


def test_invalid_schedules_are_refused() -> None:
    made = by_hand.schedule(CAUSAL, PARTS, route="relayed", rounds=3)
    moves = made.head_classes[0].keys
    wrong = {
        "has round": with_keys(made, round=moves.round + 3),
        "target 9": with_keys(made, target=np.full_like(moves.target, 9)),
        "which has it": with_keys(made, target=PARTS.owner[moves.unit]),
        "sends unit": with_keys(made, round=np.ones_like(moves.round)),
        "in two head classes": replace(made, head_classes=made.head_classes * 2),
    }
    for words, schedule in wrong.items():
        with pytest.raises(attncc.DistributedError, match=words):
            check_schedule(schedule)


def test_distinct_schedules_have_distinct_digests() -> None:
    one = by_hand.schedule(CAUSAL, PARTS, style="mixed", rounds=3, route="rounds")
    same = by_hand.schedule(CAUSAL, PARTS, style="mixed", rounds=3, route="rounds")
    other = by_hand.schedule(CAUSAL, PARTS, style="mixed", rounds=3, route="rounds", seed=1)
    assert digest(one, (8,)) == digest(same, (8,))
    assert len({digest(one, (8,)), digest(one, (9,)), digest(other, (8,))}) == 3
