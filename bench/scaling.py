"""The chart of weak scaling: how much of perfect efficiency is left as devices and work grow together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from attncc.visualization import figure

#: (devices, efficiency), efficiency 1.0 where nothing is lost.
Points = Sequence[tuple[int, float]]


def save(curves: Mapping[str, Points], title: str, path: Path, *, bar: float | None = None) -> None:
    """Draw efficiency against the number of devices as PNG; raises ConfigError if `path` can't be written.

    bar: an efficiency to mark.
    """
    made = figure.blank(7, 4.2)
    axes = made.subplots()
    for number, (name, points) in enumerate(curves.items()):
        devices, efficiency = np.array(sorted(points), float).reshape(-1, 2).T
        axes.plot(devices, efficiency, label=name, **figure.style(number, size=5, width=1.6))
    axes.axhline(1.0, color=figure.GREY, linewidth=0.8)
    if bar is not None:
        _mark(axes, bar)
    _scales(axes, curves)
    axes.set_title(title, fontsize=10, loc="left", fontweight="bold", parse_math=False)
    axes.set_xlabel("devices (the sequence grows with them)", fontsize=8)
    axes.set_ylabel("efficiency", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.legend(fontsize=8, frameon=False, loc="lower left")
    figure.write(made, path)


def _mark(axes: Any, bar: float) -> None:
    axes.axhline(bar, color=figure.GREY, linewidth=1.0, linestyle="--")
    place = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "va": "center"}
    axes.annotate(f"{bar:.0%}", (1.0, bar), (4, 0), fontsize=8, color=figure.GREY, **place)


def _scales(axes: Any, curves: Mapping[str, Points]) -> None:
    """Label each number of devices, and start efficiency at nothing."""
    from matplotlib.ticker import FixedLocator, NullLocator, PercentFormatter

    axes.set_xscale("log", base=2)
    counts = sorted({devices for points in curves.values() for devices, _ in points})
    axes.xaxis.set_major_locator(FixedLocator(counts))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_ylim(0, max([1.05, *(1.05 * each for points in curves.values() for _, each in points)]))
    figure.unclutter(axes, "y")
