"""Key limits: what no query sees lies outside of them."""

from __future__ import annotations

import pytest

import attncc
from attncc.planner.key_limits import key_limits
from attncc.planner.search import plan


@pytest.mark.parametrize(
    ("condition", "limits"),
    [
        (lambda i, j: j <= i, (0, 40)),
        (lambda i, j: (j <= i) & (j < 17), (0, 17)),
        (lambda i, j: (j >= 3) & (j < 17), (3, 17)),
        (lambda i, j: (j >= 17) & (j < 3), (0, 0)),
        (lambda i, j: ((j <= i) ^ (j % 3 == 1)) & (j < 17), (0, 17)),
        (lambda i, j: ((j < 4) & (j <= i)) | ((j == 9) & (i % 2 == 0)), (0, 10)),
        (lambda i, j: (j < 4) | (i == 7), (0, 40)),
        (lambda i, j: (j != 9) & (j < 50), (0, 40)),
        (lambda i, j: (j < 0) | (j > 99), (0, 0)),
    ],
)
def test_key_limits_leave_out_what_no_query_sees(condition, limits: tuple[int, int]) -> None:
    assert key_limits(attncc.pattern(condition)().predicate, 40) == range(*limits)


def test_the_pass_that_evaluates_all_of_a_predicate_ends_where_keys_do() -> None:
    @attncc.pattern
    def chequered(i, j, *, n: int):
        return ((j <= i) ^ ((i + j) % 2 == 1)) & (j < n)

    [group] = plan(chequered(n=17), 40).groups
    ends = {way.name: max(work.key_ranges.bounds()[1].max() for work in way.passes) for way in group.alternatives}
    assert {ends["fused"], ends["dense"]} == {17}
