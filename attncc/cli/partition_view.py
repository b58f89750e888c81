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


def rendered(report: Report, elapsed: float) -> list[RenderableType]:
    """Return the report for people."""
    notes = [Text(f"note: {note}", style="yellow") for note in report.notes]
    topology = report.scenario.topology
    source = f"Figures are simulated on {topology.name}, not measured: {topology.title}."
    parts = [_summary(report, elapsed), _directions(report), _tried(report), _baselines(report)]
    spaced = [line for part in parts for line in (part, "")]
    return [*spaced, *notes, Text(source, style="dim")]


def _summary(report: Report, elapsed: float) -> RenderableType:
    scenario, best = report.scenario, report.best
    sizes = scenario.inputs
    grouped = f" ({sizes.kv_heads} key heads)" if sizes.kv_heads != sizes.heads else ""
    wide = f"{sizes.head_dim}" + (f"/{sizes.value_dim}" if sizes.value_dim != sizes.head_dim else "")
    chosen, tokens = report.settings(best), report.tokens
    rows = {
        "sequence": f"{scenario.length:,} tokens, B={sizes.batch} H={sizes.heads}{grouped} D={wide} {sizes.dtype}",
        "devices": f"{report.ranks} of {scenario.topology.name}, {', '.join(scenario.topology.targets)}",
        "chosen": f"{chosen['partition']} partition in units of {chosen['unit']:,}; {exchange(best)}",
        "why": _why(report),
        "makespan": f"{output.seconds(best.seconds)}, {report.idle:.0%} of the devices' time idle",
        "compute balance": f"{report.imbalance:.3f} (most work of a rank over the mean)",
        "tokens per rank": f"{tokens.min():,} to {tokens.max():,}",
        "chosen in": output.seconds(elapsed),
    }
    return output.facts(repr(scenario.pattern), rows)


def _why(report: Report) -> str:
    if len(report.tried) == 1:
        return "all settings were given, or there is nothing else to try"
    others = [each for each in report.tried if each.settings.partition != report.best.settings.partition]
    said = f"the shortest predicted makespan of {len(report.tried)} candidates"
    if others and report.best.seconds:
        ratio = f"{others[0].seconds / report.best.seconds:.2f}"
        behind = "is as fast" if ratio == "1.00" else f"takes {ratio} x as long"
        said += f"; {others[0].settings.partition}, the next partition, {behind}"
    return said


def _directions(report: Report) -> RenderableType:
    numbers = ("makespan", "exposed", "rounds", "bytes", "busiest receives", "busiest sends")
    made = output.table("", "direction", *numbers, numbers=numbers)
    for name, traffic in report.traffic.items():
        timeline = report.best.timelines[name]
        times = [output.seconds(timeline.seconds), output.seconds(timeline.exposed)]
        sizes = [output.quantity(size, "B") for size in (traffic.total, traffic.received.max(), traffic.sent.max())]
        made.add_row(name, *times, str(traffic.rounds), *sizes)
    return made


def _tried(report: Report) -> RenderableType:
    numbers = ("makespan", "ratio")
    title = f"{len(report.tried)} tried; the best exchanges for a partition and a spread"
    made = output.table(title, "partition", "exchange", *numbers, numbers=numbers)
    for each in distinct(report.tried)[:LISTED]:
        chosen = " (chosen)" if each is report.best else ""
        times = [output.seconds(each.seconds), _ratio(each.seconds, report.best.seconds)]
        made.add_row(each.settings.partition + chosen, exchange(each), *times)
    return made


def _baselines(report: Report) -> RenderableType:
    numbers = ("makespan", "ratio", "busiest receives", "bytes")
    title = f"baselines in the same simulation, {' + '.join(report.scenario.directions)}"
    made = output.table(title, "", *numbers, "note", numbers=numbers)
    received = np.sum([traffic.received for traffic in report.traffic.values()], axis=0)
    sizes = [output.quantity(size, "B") for size in (received.max(), received.sum())]
    made.add_row(Text("chosen", style="bold"), output.seconds(report.best.seconds), "1.00 x", *sizes, "")
    for each in report.summaries:
        made.add_row(each.name, *_row(each, report.best.seconds), each.note)
    alone = output.seconds(report.one_device), _ratio(report.one_device, report.best.seconds)
    made.add_row("one device", *alone, "0 B", "0 B", "the same pattern, if its memory holds everything")
    return made


def _row(baseline: BaselineSummary, best: float) -> list[str]:
    if baseline.seconds is None:
        return [""] * 4
    sizes = [output.quantity(size, "B") for size in (baseline.busiest, baseline.total)]
    return [output.seconds(baseline.seconds), _ratio(baseline.seconds, best), *sizes]


def _ratio(seconds: float, best: float) -> str:
    return f"{seconds / best:.2f} x" if best else ""
