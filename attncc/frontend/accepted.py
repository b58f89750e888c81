"""What callers may give for a pattern or a score, functions for FlexAttention included."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attncc.errors import PatternError
from attncc.frontend import algebra
from attncc.frontend.flex import Mod, from_mask_mod, from_score_mod
from attncc.frontend.pattern_factory import PatternFactory
from attncc.frontend.patterns import MODS, Pattern, as_pattern, joined_patterns
from attncc.frontend.scores import Score, ScoreFactory, as_score

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


def per_head(patterns: Sequence[AnyPattern]) -> Pattern:
    """Return the pattern in which head h sees patterns[h mod len(patterns)].

    Args:
        patterns: At least one pattern, declared pattern that needs no parameters, or mask_mod.

    Raises:
        PatternError: For an empty list, or an entry that isn't a pattern.
    """
    chosen = [accepted_pattern(p) for p in patterns] if isinstance(patterns, Sequence) else []
    if not chosen:
        raise PatternError(
            f"per_head({patterns!r}) has no list of patterns.",
            rule="It takes one pattern for each head, at least one.",
            fix="Write per_head([first, second]).",
        )
    return joined_patterns(chosen, algebra.by_head, algebra.per_head)
