"""autotune(): search once for the best configuration of a pattern, a shape and a target, and store it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, fields
from os import PathLike
from typing import TYPE_CHECKING, Any

from attncc.errors import ConfigError
from attncc.frontend.patterns import Pattern, PatternFactory
from attncc.frontend.scores import Score, ScoreFactory
from attncc.planner.directions import BACKWARD, FORWARD
from attncc.tune.budget import Budget
from attncc.tune.listener import SILENT, Listener
from attncc.tune.options import TuningOptions
from attncc.tune.result import TaskResult, TuningResult
from attncc.tune.stored import stored_or_tuned
from attncc.tune.task import TuningTask

if TYPE_CHECKING:
    from attncc.distributed.topology import Topology

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
        choices: The fields of attncc.tune.autotune.TuningRequest: score, heads, head_dim, dtype, target, effort, ...

    Returns:
        The results of all directions.

    Raises:
        ConfigError, ShapeError, PatternError, BackendError, TopologyError: For what can't be tuned.
    """
    return TuningRequest(pattern, q_len, **choices).answered(listener)


@dataclass(frozen=True, eq=False)
class TuningRequest(TuningOptions):
    """What is asked of the autotuner: a pattern for a device, or for the devices of a topology, with all options.

    Query is (batch, heads, q_len, head_dim), key (batch, kv_heads, kv_len, head_dim), value (batch, kv_heads, kv_len,
    value_dim).

    Attributes:
        pattern: What each query sees.
        q_len: Number of queries.
        score: As in `attncc.attention`; a backward computes the gradients of those of its weights that require one.
        topology: A shipped topology's name, a TOML file, or a Topology: one schedule is tuned for all its devices.
    """

    pattern: Pattern | PatternFactory
    q_len: int
    _: KW_ONLY
    score: Score | ScoreFactory | None = None
    topology: str | PathLike[str] | Topology | None = None

    def __post_init__(self) -> None:
        """Raise ConfigError for options that mean nothing without, or with, a topology."""
        super().__post_init__()
        on_topology = self.topology is not None
        foreign = "device" if on_topology else "topology"
        given = [
            f.name for f in fields(self) if f.metadata.get("only") == foreign and getattr(self, f.name) != f.default
        ]
        if on_topology and self.score is not None:
            given.insert(0, "score")
        if given:
            raise ConfigError(
                f"--{given[0].replace('_', '-')} {'with' if on_topology else 'without'} --topology.",
                rule="A schedule is for self-attention on the devices of a topology.",
                fix="Leave one of them out." if on_topology else "Add --topology, for example --topology 8xh100.",
            )

    @property
    def tasks(self) -> Sequence[TuningTask]:
        """What is tuned: each direction of a backend, or one schedule."""
        if self.topology is None:
            from attncc.tune.backend_task import BackendTask

            return BackendTask.of(self)
        from attncc.tune.schedule_task import ScheduleTask

        return [ScheduleTask.of(self)]

    def answered(self, listener: Listener = SILENT) -> TuningResult:
        """Return the stored results, and tune the other tasks, each in its share of the time.

        Where the listener cancels it, tasks that have not begun are left out. Where ranks measure, all of them ask
        alike, and each returns the same.
        """
        tasks = self.tasks
        if self.measure:
            from attncc.tune.ranks import tuned_by_ranks
            from attncc.tune.schedule_task import ScheduleTask

            (task,) = tasks
            assert isinstance(task, ScheduleTask)
            return tuned_by_ranks(task, self, listener)
        budget = Budget(tasks[0].allowance(self).seconds, listener.is_cancelled)
        results: list[TaskResult] = []
        for at, task in enumerate(tasks):
            if budget.is_cancelled:
                break
            weights = [WEIGHTS.get(each.direction, 1.0) for each in tasks[at:]]
            results.append(stored_or_tuned(task, self, listener, budget.share(weights[0] / sum(weights))))
        return TuningResult(results, budget.is_cancelled)
