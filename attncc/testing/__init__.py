"""What tests of patterns and plugins use: `check_pattern`, the oracle, and (in `strategies`) Hypothesis strategies."""

from __future__ import annotations

from attncc.testing.check import check_attention, check_pattern, check_plan

__all__ = ["check_attention", "check_pattern", "check_plan"]
