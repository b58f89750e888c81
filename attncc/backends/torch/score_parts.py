"""Score parts: where a condition on positions chooses between scores, the pairs of either have a plan of their own.

Few pairs may be all that a score changes, as `where(i == j, -5e4, score)`. The others then have no score, and run as
they would without one; what a condition masks isn't computed at all. Parts merge by log-sum-exp, as passes do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import sympy
import torch
from torch import Tensor

from attncc.backends.base import Gradients, Saved
from attncc.backends.logsum import LogSum
from attncc.backends.torch.execute import TorchExecutable
from attncc.frontend.pages import Pages
from attncc.frontend.patterns import Pattern
from attncc.ir.functions import Choice, ConditionSymbol
from attncc.ir.score import ScoreExpression
from attncc.planner.plan import Plan
from attncc.planner.search import plan_for

#: How much longer than the plan without a score its parts may take: a score about doubles the time of its pairs.
LONGER = 1.5

#: Lowers a plan under a score, which may have parts itself.
Lower = Callable[[Plan, ScoreExpression], "TorchExecutable | ScoreParts"]


def parts(plan: Plan, score: ScoreExpression, lower: Lower) -> ScoreParts | None:
    """Return what runs the parts of a score, each lowered by `lower`; None where it has none, or one plan is faster.

    Where tables lie on a device, unread, nothing is planned by what they hold.
    """
    expr = score.expr
    if not isinstance(expr, Choice) or not isinstance(expr.args[0], ConditionSymbol) or score.placeholders:
        return None
    if _computes_all(plan) or not score.is_on_host:
        return None
    condition, *branches = expr.args
    where = Pattern([condition.predicate], "where")
    ways = zip((where, ~where), branches, strict=True)
    found = [(_restricted(plan.pattern, way), ScoreExpression(branch)) for way, branch in ways if branch != -sympy.oo]
    plans = [(plan_for(own, plan.shape, plan.tile, plan.target), branch) for own, branch in found]
    if sum(map(_seconds, (own for own, _ in plans))) > LONGER * _seconds(plan):
        return None
    plans = [(own, branch) for own, branch in plans if own.all_passes()] or plans[:1]
    return ScoreParts(tuple(lower(own, branch) for own, branch in plans))


def _restricted(pattern: Pattern, where: Pattern) -> Pattern:
    """Return the pairs of a pattern that another one has, too; keys stay in their pages."""
    pages = Pages.of(pattern)
    return pattern & where if pages is None else pages.on(Pages.off(pattern) & where)


def _computes_all(plan: Plan) -> bool:
    return any(group.alternatives[0].name == "dense" for group in plan.groups)


def _seconds(plan: Plan) -> float:
    return sum(group.alternatives[0].seconds * plan.members(group) for group in plan.groups)


@dataclass(frozen=True, eq=False)
class ScoreParts:
    """The parts of a score, over disjoint sets of pairs; see attncc.backends.base.Executable."""

    parts: tuple[TorchExecutable | ScoreParts, ...]

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, weights: Sequence[Tensor], scale: float
    ) -> tuple[Tensor, LogSum]:
        """Return (out, lse)."""
        (out, lse), *others = (part.forward(query, key, value, weights, scale) for part in self.parts)
        lse = LogSum(lse.value, lse.rest)
        for other, total in others:
            share, lse = lse.merged(total)
            out = torch.lerp(out, other, share.unsqueeze(-1).to(out.dtype))
        return out, lse

    def max_scores(self, query: Tensor, key: Tensor, weights: Sequence[Tensor], scale: float) -> Tensor:
        """See attncc.backends.base.FindsMaxScores."""
        found = [part.max_scores(query, key, weights, scale) for part in self.parts]
        return torch.stack(found).amax(0)

    def backward(
        self, saved: Saved, grad_out: Tensor, grad_lse: Tensor | None, scale: float, with_weights: bool
    ) -> Gradients:
        """Return the gradients: with the merged out and lse those of the parts add up."""
        first, *others = (part.backward(saved, grad_out, grad_lse, scale, with_weights) for part in self.parts)
        for other in others:
            weights = [own + more for own, more in zip(first.weights, other.weights, strict=True)]
            query, key, value = (own + more for own, more in zip(first[:3], other[:3], strict=True))
            first = Gradients(query, key, value, weights)
        return first
