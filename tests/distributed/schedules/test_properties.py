"""Over the whole grammar of patterns, schedules compute every connected pair once."""

from __future__ import annotations

import numpy as np
from computing import computed
from hypothesis import assume, given
from hypothesis import strategies as st

from attncc.backends.inputs import Inputs
from attncc.distributed.schedules.problem import PartitioningProblem
from attncc.distributed.schedules.settings import ROUTES, Settings
from attncc.testing.strategies import Case, cases

PARTITIONS = ("contiguous", "balanced", "zigzag", "block_cyclic", "cyclic", "classes", "longest_first")
SETTINGS = st.builds(
    Settings,
    partition=st.sampled_from(PARTITIONS),
    unit=st.sampled_from([0, 1, 2, 8, 16]),
    stages=st.integers(0, 4),
    route=st.sampled_from(ROUTES),
    fanout=st.integers(1, 3),
)


@given(cases(), SETTINGS, st.integers(1, 6), st.sampled_from([1, 2]), st.sampled_from([8, 64]))
def test_schedules_compute_every_pair_once(
    case: Case, settings: Settings, ranks: int, group: int, value_dim: int
) -> None:
    assume(case.q_len == case.kv_len and case.q_offset == 0 and case.heads % group == 0)
    inputs = Inputs(case.batch, case.heads, case.heads // group, 8, value_dim, "fp32")
    problem = PartitioningProblem(case.pattern, case.q_len, ranks, inputs, np.arange(ranks) // 2)
    schedule = problem.schedule(settings)
    times = np.zeros((case.batch, case.heads, case.q_len, case.kv_len), np.int64)
    for head_class in schedule.head_classes:
        every = np.indices((inputs.batch, inputs.kv_heads)).reshape(2, -1).T
        for batch, key_head in every if head_class.members is None else head_class.members:
            times[batch, key_head * group : (key_head + 1) * group] += computed(schedule, head_class)
    assert times.max(initial=0) <= 1
    assert (times[case.mask] == 1).all()
