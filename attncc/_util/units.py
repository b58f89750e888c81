"""Figures with their units: durations and large numbers with three digits."""

from __future__ import annotations


def seconds(value: float) -> str:
    """Return a duration with three digits or, if it is longer, whole seconds: 4,800 s, 1.23 s, 45.6 ms, 789 µs."""
    if value >= 1000:
        return f"{value:,.0f} s"
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value * 1e6:.3g} µs"


def quantity(value: float, unit: str = "") -> str:
    """Return a large number with three digits and a prefix: 1.23 G."""
    for prefix, size in (("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g} {prefix}{unit}"
    return f"{value:.3g} {unit}".rstrip()
