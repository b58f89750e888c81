"""Proofs: properties of a pattern at a length, decided exactly, with a counterexample where one fails."""

from __future__ import annotations

from attncc.frontend.patterns import Pattern, PatternFactory, as_pattern
from attncc.planner.shape import Shape
from attncc.proof import causality, factorisation, rows
from attncc.proof.finding import Finding

__all__ = ["Finding", "verify"]


def verify(pattern: Pattern | PatternFactory, seq_len: int, *, heads: int = 1, batch: int = 1) -> tuple[Finding, ...]:
    """Prove or refute, at `seq_len` queries and keys: causal, no empty rows, and for several subsets factorisation.

    Factorisation is that of Child et al. (2019), section 4.2, for the subsets before `union` or `heads`; a path may
    leave out a step, since residual connections do. Its `holds` is None where the graph that decides it is too large.
    `heads` and `batch` say how many heads and batch entries are looked at where the pattern depends on them.
    Raises ShapeError, TableError or PatternError for input that can't be planned.
    """
    chosen = as_pattern(pattern)
    shape = Shape(seq_len, seq_len, 0, heads, batch)
    findings = [causality.prove(chosen, shape), rows.prove(chosen, shape)]
    if len(chosen.subsets) > 1:
        findings.append(factorisation.prove(chosen, shape))
    return tuple(findings)
