"""The picture of a sweep: time against the number of tokens, of attncc and of dense attention."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attncc.measure.comparison import DENSE, OURS
from attncc.measure.sweep import Sweep
from attncc.visualization import figure

#: Colours and names of contestants; of the phases, the line.
_COLOURS = {OURS: "#2171b5", DENSE: "#d55e00"}
_LINES = {"forward": "-", "forward + backward": "--"}
#: Characters of a line of the title, and lines of it.
_TITLE = 70, 4


def save(sweep: Sweep, path: Path) -> None:
    """Draw a sweep as PNG; raises ConfigError if `path` can't be written."""
    figure.write(drawn(sweep), path)


def drawn(sweep: Sweep) -> Any:
    """Return the figure; axes end at the first and the last length, also where the last ones were skipped."""
    made = figure.blank(7, 4.8)
    axes = made.subplots()
    for name, colour in _COLOURS.items():
        points = [point for point in sweep.points if name in point.timings]
        label = name if name == OURS else f"dense attention, {sweep.baseline}"
        for phase, line in _LINES.items():
            times = [1e3 * point.timings[name][phase].median for point in points]
            if times:
                shown = [point.length for point in points]
                axes.plot(shown, times, line, marker=".", color=colour, label=f"{label}, {phase}")
    lengths = [point.length for point in sweep.points]
    axes.set(xscale="log", yscale="log", xlabel="tokens (N)", ylabel="time (ms)")
    axes.set_xlim(lengths[0] * (0.5 if len(lengths) == 1 else 1), lengths[-1])
    axes.set_xticks(lengths, [f"{length:,}" for length in lengths])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, frameon=False)
    work = sweep.workload
    sizes = f"B={work.batch} H={work.heads} D={work.head_dim} {work.dtype} on {work.device}"
    axes.set_title(f"{figure.wrapped(repr(sweep.pattern), *_TITLE)}\n{sizes}", fontsize=10, parse_math=False)
    return made
