"""What tests of patterns, plugins and backends use.

`check_pattern` is a plugin's test, `BackendConformance` a backend's; `strategies` has Hypothesis strategies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attncc.testing.check import check_attention, check_pattern, check_plan

if TYPE_CHECKING:
    from attncc.testing.conformance import BackendConformance as BackendConformance

__all__ = ["BackendConformance", "check_attention", "check_pattern", "check_plan"]


def __getattr__(name: str) -> Any:
    if name != "BackendConformance":
        raise AttributeError(f"module 'attncc.testing' has no attribute {name!r}")
    from attncc.testing.conformance import BackendConformance  # needs pytest

    return BackendConformance
