"""autotune(): search once for the best configuration of a pattern, a shape and a target, and store it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attncc.frontend.pattern_factory import PatternFactory
from attncc.frontend.patterns import Pattern
from attncc.planner.directions import BACKWARD, FORWARD
from attncc.tune.budget import Budget
from attncc.tune.listener import SILENT, Listener
from attncc.tune.request import TuningRequest
from attncc.tune.result import TaskResult, TuningResult
from attncc.tune.stored import stored_or_tuned
from attncc.tune.task import TuningTask

#: Shares of the time by direction: a backward's calls take about twice as long as a forward's.
WEIGHTS = {FORWARD: 1.0, BACKWARD: 2.0}


def autotune(
    pattern: Pattern | PatternFactory, q_len: int, *, listener: Listener = SILENT, **choices: Any
) -> TuningResult:
    """Find the best plan and configuration of `pattern`, and remember it: `attncc.attention` uses it from then on.

    With a `topology` it finds how devices share the sequence, which `attncc.distributed.compile` uses. A
    result that is stored from an earlier tuning with no less effort is returned at once.

    Args:
        pattern: What each query sees.
        q_len: Number of queries, and of keys unless `kv_len` is given.
        listener: Hears each step, trial and result, and may end the search early.
        choices: The fields of attncc.tune.request.TuningRequest: score, heads, head_dim, dtype, target, effort, ...

    Returns:
        The results of all directions.

    Raises:
        ConfigError, ShapeError, PatternError, BackendError, TopologyError: For what can't be tuned.
    """
    return answer(TuningRequest(pattern, q_len, **choices), listener)


def tasks_of(request: TuningRequest) -> Sequence[TuningTask]:
    """Return the tasks of a request: each direction of a backend, or one schedule."""
    if request.topology is None:
        from attncc.tune.backend_task import BackendTask

        return BackendTask.of(request)
    from attncc.tune.schedule_task import ScheduleTask

    return [ScheduleTask.of(request)]


def answer(request: TuningRequest, listener: Listener = SILENT) -> TuningResult:
    """Return the stored results, and tune the other tasks, each in its share of the time.

    Where the listener cancels it, tasks that have not begun are left out. Where ranks measure, all of them ask
    alike, and each returns the same.
    """
    tasks = tasks_of(request)
    if request.measure:
        from attncc.tune.collective import tuned_by_ranks
        from attncc.tune.schedule_task import ScheduleTask

        (task,) = tasks
        assert isinstance(task, ScheduleTask)
        return tuned_by_ranks(task, request, listener)
    budget = Budget(tasks[0].allowance(request).seconds, listener.is_cancelled)
    results: list[TaskResult] = []
    for at, task in enumerate(tasks):
        if budget.is_cancelled:
            break
        weights = [WEIGHTS.get(each.direction, 1.0) for each in tasks[at:]]
        results.append(stored_or_tuned(task, request, listener, budget.share(weights[0] / sum(weights))))
    return TuningResult(results, budget.is_cancelled)
