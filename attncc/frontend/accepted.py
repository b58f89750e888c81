"""What callers may give for a pattern or a score, functions for FlexAttention included."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import FunctionType, MethodType
from typing import Any

from attncc.frontend.flex import Mod, from_mask_mod, from_score_mod
from attncc.frontend.patterns import Pattern, PatternFactory, as_pattern
from attncc.frontend.scores import Score, ScoreFactory, as_score

#: What plain functions are.
MODS = (FunctionType, MethodType, partial)
#: What callers may give for a pattern.
AnyPattern = Pattern | PatternFactory | Mod
#: What they may give for a score.
AnyScore = Score | ScoreFactory | Mod | None


def accepted_pattern(value: Any) -> Pattern:
    """Return `value` as a pattern: a pattern, a declared one that needs no parameters, or a mask_mod's.

    Raises PatternError or TableError.
    """
    if isinstance(value, Pattern):
        return value
    return from_mask_mod(value) if isinstance(value, MODS) else as_pattern(value)


def accepted_score(value: Any, weights: Mapping[str, Any] | None = None) -> Score:
    """Return `value` as a score: a score, a declared one, a score_mod's, or None for the score as it is.

    With `weights`, these are bound to it by name. Raises ScoreError or TableError.
    """
    return as_score(from_score_mod(value) if isinstance(value, MODS) else value, weights)
