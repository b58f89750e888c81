"""What `attncc tune` shows: the space, and the results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType

from attncc.cli import output

if TYPE_CHECKING:
    from attncc.tune.result import TaskResult


def space_of(direction: str, described: dict[str, Any]) -> list[RenderableType]:
    """Return a direction's space: its values, what each constraint removes, and the best by prediction."""
    sizes = f"{direction}: {described['size']:,} configurations, {described['feasible']:,} of them feasible"
    lists = {name: ", ".join(map(str, values)) for name, values in described["parameters"].items()}
    removed = output.table("", "constraint", "removes", "why", numbers=("removes",))
    for each in described["constraints"]:
        removed.add_row(each["rule"], f"{each['removes']:,}", each["why"])
    ranking = output.table("", "rank", "predicted", "configuration", numbers=("rank", "predicted"))
    for rank, each in enumerate(described["ranking"], start=1):
        predicted = "" if each["predicted_s"] is None else output.seconds(each["predicted_s"])
        ranking.add_row(str(rank), predicted, _configuration(each["config"]))
    return [output.facts(sizes, lists), "", removed, "", ranking]


def _configuration(config: Mapping[str, object]) -> str:
    return ", ".join(f"{name}={value}" for name, value in config.items()) or "the default one"


def direction(result: TaskResult) -> list[RenderableType]:
    """Return what one direction's result says, for people."""
    return [_facts(result), *result.remarks, ""]


def line(result: TaskResult) -> str:
    """Return what one direction's result says, in a line."""
    entry = result.entry
    over = {"the default": result.over_default, "dense": result.over_dense}
    said = ", ".join(f"{value:.2f} x over {other}" for other, value in over.items() if value)
    return f"{result.task.direction}: {output.seconds(entry.seconds['best'])}, {result.source}" + (
        f"; {said}" if said else ""
    )


def _facts(result: TaskResult) -> RenderableType:
    entry = result.entry
    trials = "1 trial" if result.trials_run == 1 else f"{result.trials_run} trials"
    rows = {
        "source": f"{result.source}, {entry.mode}, {trials} in this run",
        "tried": f"{entry.trials:,} of {result.candidates:,} configurations",
        "configuration": _configuration(entry.config),
        "plan": result.plan,
    }
    for name, seconds in entry.seconds.items():
        samples = entry.samples.get(name, ())
        spread = (max(samples) - min(samples)) / 2 / seconds if len(samples) > 1 else 0
        rows[name] = output.seconds(seconds) + (f" ± {spread:.0%}, {len(samples)} samples" if spread else "")
    if result.dense_length:
        rows["dense"] += f", from {result.dense_length:,} positions, scaled by the edges"
    if result.late:
        rows["no time for"] = f"{result.late} of the trials; a later run tries them again"
    if entry.expected_error:
        rows["model"] = f"off by {entry.expected_error:.0%} at most, as a rule; the first measurement replaces it"
    for reason, count in result.reasons.items():
        rows[f"failed {count} x"] = reason
    return output.facts(f"{result.task.title}, {result.task.direction}, {result.task.target}", rows)
