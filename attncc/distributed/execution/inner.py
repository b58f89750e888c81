"""Inner attention: the executables of a rank's tasks, found once for each kind of tensors and kept."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from attncc.backends.base import Executable
from attncc.distributed.execution.members import Members
from attncc.distributed.execution.tables import Task
from attncc.distributed.schedules.place import Place, placed, placed_score
from attncc.frontend.patterns import Pattern
from attncc.ir.score import ScoreExpression
from attncc.runtime.arguments import Options
from attncc.runtime.executables import executable_for

Placed = tuple[Pattern, ScoreExpression]


@dataclass(frozen=True, eq=False)
class Inner:
    """What the tasks of a rank compute: a pattern of `length` tokens, under the options of the call.

    first_entry, first_head: the batch entry and query head that the rank's first ones are. A rank may have more
    tasks than the planner keeps plans for, so that what was found is kept here.
    """

    pattern: Pattern
    options: Options
    length: int
    first_entry: int = 0
    first_head: int = 0
    _placed: dict[object, Placed] = field(default_factory=dict, init=False, repr=False)
    _found: dict[object, Executable] = field(default_factory=dict, init=False, repr=False)

    @property
    def scored(self) -> bool:
        """Whether there is a score, so that lse has a remainder, which travels with it."""
        return not self.options.score.expression.is_identity

    def executable(
        self, task: Task, members: Members, direction: str, query: Tensor, key: Tensor, value: Tensor
    ) -> Executable:
        """Return what runs a direction of a task on these tensors; raises what planning and lowering raise."""
        sizes = (*query.shape[:2], key.shape[1], query.shape[3], value.shape[3])
        wanted = (task, members, direction, query.dtype, query.device, sizes)
        if wanted not in self._found:
            pattern, score = self._place(task, members, query.shape[0], query.shape[1], key.shape[1])
            call = self.options.call(pattern)._replace(score=score.key)
            self._found[wanted] = executable_for(query, key, value, direction, call)
        return self._found[wanted]

    def _place(self, task: Task, members: Members, batch: int, heads: int, kv_heads: int) -> Placed:
        """Return the pattern and the score of a task, which live as long as the executables that name them."""
        wanted = (task, members, batch, heads, kv_heads)
        if wanted not in self._placed:
            entries = np.arange(batch) if members.entries is None else members.entries
            place = Place(
                task.query_positions,
                task.key_positions,
                self.length,
                self.first_head + members.query_heads(heads // kv_heads, heads),
                self.first_entry + entries,
            )
            self._placed[wanted] = placed(self.pattern, place), placed_score(self.options.score.expression, place)
        return self._placed[wanted]
