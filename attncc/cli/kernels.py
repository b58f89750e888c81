"""What `attncc inspect` and `attncc compile` share: a pattern lowered to kernels for a target."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attncc.errors import ConfigError

if TYPE_CHECKING:
    from attncc.backends.inputs import Inputs
    from attncc.backends.triton.lowered_plan import LoweredPlan
    from attncc.frontend.patterns import Pattern
    from attncc.frontend.scores import Score


def lowered(
    pattern: Pattern, score: Score | None, seq_len: int, inputs: Inputs, target: str, changes: list[str] | None
) -> LoweredPlan:
    """Plan a pattern for a GPU and lower it, under a score; raises attncc's errors."""
    from attncc.backends.triton import BACKEND, aot
    from attncc.planner.search import plan
    from attncc.targets import gpu

    made = plan(pattern, seq_len, heads=inputs.heads, batch=inputs.batch, tile=BACKEND.tile, target=target)
    expression = None if score is None else score.expression
    return aot.lower(made, gpu(target), inputs, config=_parsed(changes or []), score=expression)


def _parsed(changes: list[str]) -> dict[str, Any]:
    """Return choices written KEY=VALUE, with numbers and true/false as such."""
    choices: dict[str, Any] = {}
    for change in changes:
        key, sign, value = change.partition("=")
        if not sign:
            raise ConfigError(
                f"--config {change}.", rule="A choice is KEY=VALUE.", fix="For example -c forward.num_warps=8"
            )
        if key in choices:
            raise ConfigError(
                f"--config {change}, and {key} before.", rule="A choice is given once.", fix="Leave one of the two out."
            )
        truth = {"true": True, "false": False}
        choices[key] = truth[value] if value in truth else int(value) if value.lstrip("-").isdigit() else value
    return choices
