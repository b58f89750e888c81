"""Torch's scaled_dot_product_attention under a dense mask, as a backend of attncc."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from attncc.backends.base import Backend, Executable

if TYPE_CHECKING:
    from attncc.ir.score import ScoreExpression
    from attncc.planner.plan import Plan


class SdpaBackend(Backend):
    """Runs only where it is named, since it declares no `device_types`; it refuses nothing and has no configuration."""

    name = "sdpa"

    def lower(self, plan: Plan, score: ScoreExpression, config: Mapping[str, object]) -> Executable:
        """Return what runs the plan; torch is imported here, so that listing backends stays fast."""
        from attncc_sdpa.execute import SdpaExecutable

        self.check(config)
        return SdpaExecutable(plan, score)


BACKEND = SdpaBackend()
