"""The reference backend: dense attention under the mask, for every pattern, dtype and order of derivatives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from attncc.backends.base import Backend

if TYPE_CHECKING:
    from attncc.backends.reference.execute import ReferenceExecutable
    from attncc.ir.score import ScoreExpression
    from attncc.planner.plan import Plan


class ReferenceBackend(Backend):
    """Takes every plan, at the price of the dense mask."""

    name = "reference"
    tile = (128, 128)
    composite = True

    def lower(self, plan: Plan, score: ScoreExpression, config: Mapping[str, object]) -> ReferenceExecutable:
        """Return the dense executable; it has no choices to configure."""
        from attncc.backends.reference.execute import ReferenceExecutable

        self.check(config)
        return ReferenceExecutable(plan, score)


BACKEND = ReferenceBackend()
