"""What `attncc bench --sweep` prints: a line for each length, and what was skipped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attncc.cli import output

if TYPE_CHECKING:
    from rich.console import RenderableType

    from attncc.measure.sweep import Sweep, SweepPoint

#: What is shown of each length; --json has the backward alone, too.
PHASES = {"forward": "forward", "forward + backward": "fwd + bwd"}


def rendered(sweep: Sweep) -> list[RenderableType]:
    """Return the sweep for people."""
    from attncc._util.machine import machine, versions

    work, here = sweep.workload, machine()
    about = {
        "workload": f"B={work.batch} H={work.heads} D={work.head_dim} {work.dtype} on {work.device}, {sweep.backend}",
        "machine": f"{here['processor']}, {here['cores']} cores, torch {versions(['torch'])['torch']}",
        "dense attention": sweep.baseline,
    }
    skipped = [
        f"N = {point.length:,}: {name} was skipped, {why}."
        for point in sweep.points
        for name, why in point.skipped.items()
    ]
    return [output.facts(repr(sweep.pattern), about), "", _lines(sweep), *skipped]


def _lines(sweep: Sweep) -> RenderableType:
    columns = [f"{who}, {short}" for short in PHASES.values() for who in ("attncc", "dense", "speed-up")]
    made = output.table("", "N", "plan", *columns, numbers=("N", *columns))
    for point in sweep.points:
        ways = ", ".join(dict.fromkeys(group.alternatives[0].name for group in point.plan.groups))
        made.add_row(f"{point.length:,}", ways, *(cell for phase in PHASES for cell in _cells(point, phase)))
    return made


def _cells(point: SweepPoint, phase: str) -> list[str]:
    times = [point.timings[who][phase].median if who in point.timings else None for who in ("attncc", "dense")]
    speedup = point.speedup(phase)
    return [*("" if t is None else output.seconds(t) for t in times), f"{speedup:.1f} x" if speedup else ""]
