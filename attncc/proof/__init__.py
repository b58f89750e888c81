"""Proofs: properties of a pattern at a length, decided exactly, with a counterexample where one fails."""

from __future__ import annotations

from attncc.frontend.accepted import AnyPattern, accepted_pattern
from attncc.planner.shape import Shape
from attncc.proof import causality, factorisation, rows
from attncc.proof.finding import Finding

__all__ = ["Finding", "verify"]


def verify(pattern: AnyPattern, seq_len: int, *, heads: int = 1, batch: int = 1) -> tuple[Finding, ...]:
    """Prove or refute properties of a pattern: causal, no empty rows, and factorised where it has several subsets.

    Factorisation is that of Child et al. (2019), section 4.2, for the subsets before `union` or `heads`. A path may
    leave out a step, since residual connections do.

    Args:
        pattern: The pattern, or a declared pattern that needs no parameters.
        seq_len: Number of queries and keys.
        heads: Heads that are looked at where the pattern depends on h.
        batch: Batch entries that are looked at where the pattern depends on b.

    Returns:
        One finding for each property. Its `holds` is None where the graph that decides it is too large.

    Raises:
        ShapeError: For lengths that can't be planned.
        TableError: For a table that is too short.
        PatternError: For a predicate that can't be evaluated at these lengths.
    """
    chosen = accepted_pattern(pattern)
    shape = Shape(seq_len, seq_len, 0, heads, batch)
    findings = [causality.prove(chosen, shape), rows.prove(chosen, shape)]
    if len(chosen.subsets) > 1:
        findings.append(factorisation.prove(chosen, shape))
    return tuple(findings)
