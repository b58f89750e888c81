"""What `attncc partition` prints: the choice and its figures, what else was tried, and the baselines beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from rich.text import Text

from attncc.cli import output
from attncc.visualization.schedule_report import distinct, exchange

if TYPE_CHECKING:
    from rich.console import RenderableType

    from attncc.visualization.schedule_report import BaselineSummary, Report

#: Candidates that are listed, the chosen one first.
LISTED = 5


def rendered(found: Report, elapsed: float) -> list[RenderableType]:
    """Return the report for people."""
    notes = [Text(f"note: {note}", style="yellow") for note in found.notes]
    source = f"Figures are simulated on {found.scenario.topology.name}, not measured: {found.scenario.topology.title}."
    parts = [_summary(found, elapsed), _directions(found), _tried(found), _baselines(found)]
    spaced = [line for part in parts for line in (part, "")]
    return [*spaced, *notes, Text(source, style="dim")]


def _summary(found: Report, elapsed: float) -> RenderableType:
    scenario, best = found.scenario, found.best
    sizes = scenario.inputs
    grouped = f" ({sizes.kv_heads} key heads)" if sizes.kv_heads != sizes.heads else ""
    wide = f"{sizes.head_dim}" + (f"/{sizes.value_dim}" if sizes.value_dim != sizes.head_dim else "")
    chosen, tokens = found.settings(best), found.tokens
    rows = {
        "sequence": f"{scenario.length:,} tokens, B={sizes.batch} H={sizes.heads}{grouped} D={wide} {sizes.dtype}",
        "devices": f"{found.ranks} of {scenario.topology.name}, {', '.join(scenario.topology.targets)}",
        "chosen": f"{chosen['partition']} partition in units of {chosen['unit']:,}; {exchange(best)}",
        "why": _why(found),
        "makespan": f"{output.seconds(best.seconds)}, {found.idle:.0%} of the devices' time idle",
        "compute balance": f"{found.imbalance:.3f} (most work of a rank over the mean)",
        "tokens per rank": f"{tokens.min():,} to {tokens.max():,}",
        "chosen in": output.seconds(elapsed),
    }
    return output.facts(repr(scenario.pattern), rows)


def _why(found: Report) -> str:
    if len(found.tried) == 1:
        return "all settings were given, or there is nothing else to try"
    others = [each for each in found.tried if each.settings.partition != found.best.settings.partition]
    said = f"the shortest predicted makespan of {len(found.tried)} candidates"
    if others and found.best.seconds:
        ratio = f"{others[0].seconds / found.best.seconds:.2f}"
        behind = "is as fast" if ratio == "1.00" else f"takes {ratio} x as long"
        said += f"; {others[0].settings.partition}, the next partition, {behind}"
    return said


def _directions(found: Report) -> RenderableType:
    numbers = ("makespan", "exposed", "rounds", "bytes", "busiest receives", "busiest sends")
    made = output.table("", "direction", *numbers, numbers=numbers)
    for name, traffic in found.traffic.items():
        timeline = found.best.timelines[name]
        times = [output.seconds(timeline.seconds), output.seconds(timeline.exposed)]
        sizes = [output.quantity(size, "B") for size in (traffic.total, traffic.received.max(), traffic.sent.max())]
        made.add_row(name, *times, str(traffic.rounds), *sizes)
    return made


def _tried(found: Report) -> RenderableType:
    numbers = ("makespan", "ratio")
    title = f"{len(found.tried)} tried; the best exchanges for a partition and a spread"
    made = output.table(title, "partition", "exchange", *numbers, numbers=numbers)
    for each in distinct(found.tried)[:LISTED]:
        chosen = " (chosen)" if each is found.best else ""
        times = [output.seconds(each.seconds), _ratio(each.seconds, found.best.seconds)]
        made.add_row(each.settings.partition + chosen, exchange(each), *times)
    return made


def _baselines(found: Report) -> RenderableType:
    numbers = ("makespan", "ratio", "busiest receives", "bytes")
    title = f"baselines in the same simulation, {' + '.join(found.scenario.directions)}"
    made = output.table(title, "", *numbers, "note", numbers=numbers)
    received = np.sum([traffic.received for traffic in found.traffic.values()], axis=0)
    sizes = [output.quantity(size, "B") for size in (received.max(), received.sum())]
    made.add_row(Text("chosen", style="bold"), output.seconds(found.best.seconds), "1.00 x", *sizes, "")
    for each in found.summaries:
        made.add_row(each.name, *_row(each, found.best.seconds), each.note)
    alone = output.seconds(found.one_device), _ratio(found.one_device, found.best.seconds)
    made.add_row("one device", *alone, "0 B", "0 B", "the same pattern, if its memory holds everything")
    return made


def _row(baseline: BaselineSummary, best: float) -> list[str]:
    if baseline.seconds is None:
        return [""] * 4
    sizes = [output.quantity(size, "B") for size in (baseline.busiest, baseline.total)]
    return [output.seconds(baseline.seconds), _ratio(baseline.seconds, best), *sizes]


def _ratio(seconds: float, best: float) -> str:
    return f"{seconds / best:.2f} x" if best else ""
