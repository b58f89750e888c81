"""The torch backend: batched tiles through torch's own operations, on any device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from attncc.backends.base import ANY_DEVICE, Backend
from attncc.backends.choices import Value, names, values
from attncc.backends.torch.config import Config

if TYPE_CHECKING:
    from torch import Tensor

    from attncc.backends.inputs import Inputs
    from attncc.backends.torch.execute import TorchExecutable
    from attncc.backends.torch.score_parts import ScoreParts
    from attncc.ir.score import ScoreExpression
    from attncc.planner.plan import Plan
    from attncc.targets import Target

#: The dtypes that it computes in, as torch prints them.
DTYPES = ("torch.float32", "torch.float16", "torch.bfloat16", "torch.float64")


class TorchBackend(Backend):
    """Batches equal-shaped work items and runs them with torch's flash op, or matrix products on other devices."""

    name = "torch"
    device_types = (ANY_DEVICE,)

    def refuses(self, query: Tensor, value: Tensor) -> str | None:
        """Return why the tensors don't suit it: a dtype that isn't a float of 16, 32 or 64 bits."""
        return None if str(query.dtype) in DTYPES else f"it computes in {', '.join(DTYPES)}, not in {query.dtype}"

    def lower(self, plan: Plan, score: ScoreExpression, config: Mapping[str, object]) -> TorchExecutable | ScoreParts:
        """Return the executable; see Config for the keys of `config`."""
        from attncc.backends.torch.execute import TorchExecutable

        if not score.is_identity:
            from attncc.backends.torch.score_parts import parts

            found = parts(plan, score, lambda own, branch: self.lower(own, branch, config))
            if found is not None:
                return found
        return TorchExecutable(plan, score, Config.of(config))

    @property
    def choices(self) -> Mapping[str, str]:
        """The cuts of both directions' items."""
        return {name: name.partition(".")[0] for name in names(Config())}

    def default(self, inputs: Inputs, target: Target) -> Mapping[str, Value]:
        """Return the default cuts, which are the same for all inputs."""
        return values(Config())

    def check(self, config: Mapping[str, object]) -> None:
        """Raise ConfigError for an unknown key or bad value."""
        Config.of(config)

    def predict(
        self, plan: Plan, inputs: Inputs, direction: str, config: Mapping[str, object], target: Target
    ) -> float:
        """Return the predicted seconds of a direction of the plan without a score; raises ConfigError."""
        from attncc.backends.torch import cost

        return cost.seconds(plan, inputs, direction, getattr(Config.of(config), direction), target)


BACKEND = TorchBackend()
