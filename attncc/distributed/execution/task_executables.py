"""Executables of a rank's tasks, made once for each kind of tensors."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from attncc.backends.base import Executable, FindsMaxScores
from attncc.backends.head_subset import HeadSubset
from attncc.distributed.execution.tables import RankTask
from attncc.distributed.schedules.restriction import Restriction, restricted, restricted_score
from attncc.frontend.patterns import Pattern
from attncc.ir.score import ScoreExpression
from attncc.runtime.call import AttentionCall
from attncc.runtime.executables import executable_for, max_scores_for


@dataclass(frozen=True, eq=False)
class TaskExecutables:
    """What the tasks of a rank compute: a pattern of `length` tokens, under the score of the call.

    A rank may have more tasks than the planner keeps plans for, so that their executables are kept here.

    Attributes:
        first_entry, first_head: The batch entry and query head that the rank's first ones are.
    """

    pattern: Pattern
    call: AttentionCall
    score: ScoreExpression
    length: int
    first_entry: int = 0
    first_head: int = 0
    _restricted: dict[object, tuple[Pattern, ScoreExpression]] = field(default_factory=dict, init=False, repr=False)
    _executables: dict[object, Executable] = field(default_factory=dict, init=False, repr=False)
    _finders: dict[object, FindsMaxScores] = field(default_factory=dict, init=False, repr=False)

    @property
    def scored(self) -> bool:
        """Whether there is a score, so that lse has a remainder, which travels with it."""
        return not self.score.is_identity

    def executable(
        self, task: RankTask, subset: HeadSubset, direction: str, query: Tensor, key: Tensor, value: Tensor
    ) -> Executable:
        """Return what runs a direction of a task on these tensors; raises what planning and lowering raise."""
        wanted = (task, subset, direction, *_kind(query, key, value))
        if wanted not in self._executables:
            call = self._call(task, subset, query, key)
            self._executables[wanted] = executable_for(query, key, value, direction, call)
        return self._executables[wanted]

    def max_scores(
        self, task: RankTask, subset: HeadSubset, query: Tensor, key: Tensor, value: Tensor
    ) -> FindsMaxScores:
        """Return what finds the greatest scores of a task on these tensors; raises what `executable` raises."""
        wanted = (task, subset, *_kind(query, key, value))
        if wanted not in self._finders:
            self._finders[wanted] = max_scores_for(query, key, value, self._call(task, subset, query, key))
        return self._finders[wanted]

    def _call(self, task: RankTask, subset: HeadSubset, query: Tensor, key: Tensor) -> AttentionCall:
        pattern, score = self._restrict(task, subset, query.shape[0], query.shape[1], key.shape[1])
        return self.call._replace(pattern=pattern.handle, score=score.key)

    def _restrict(
        self, task: RankTask, subset: HeadSubset, batch: int, heads: int, kv_heads: int
    ) -> tuple[Pattern, ScoreExpression]:
        """Return the pattern and the score of a task, which live as long as the executables that name them."""
        wanted = (task, subset, batch, heads, kv_heads)
        if wanted not in self._restricted:
            entries, own = subset.query_heads(heads // kv_heads).members(batch, heads)
            restriction = Restriction(
                task.query_positions, task.key_positions, self.length, self.first_head + own, self.first_entry + entries
            )
            score = restricted_score(self.score, restriction)
            self._restricted[wanted] = restricted(self.pattern, restriction), score
        return self._restricted[wanted]


def _kind(query: Tensor, key: Tensor, value: Tensor) -> tuple[object, ...]:
    """Return what executables depend on of tensors, but for the numbers of their rows."""
    return (*query.shape[:2], key.shape[1], query.shape[3], value.shape[3], query.dtype, query.device)
