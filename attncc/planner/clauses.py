"""Disjoint clauses: the predicate as a union of clauses that share no pair, the cheapest to lay out first."""

from __future__ import annotations

import sympy

from attncc._util import caching
from attncc.ir.arithmetic import direction, split_sum
from attncc.ir.normal import MAX_CLAUSES, Clause, TooManyClausesError, clauses
from attncc.ir.predicate import Predicate
from attncc.ir.span import Span
from attncc.ir.symbols import I, J


@caching.algebra(64)
def disjoint_clauses(predicate: Predicate) -> tuple[Clause, ...]:
    """Return clauses that cover `predicate` without overlap, so that their partial results can be merged.

    Their spans are in one order, whatever tables take the places of placeholders.

    Bands come first, since what is left of a later clause without a band is again a clause with a band.
    Raises TooManyClausesError if the expansion is too long to be useful.
    """
    whole = [piece for clause in clauses(predicate) for piece in _without_holes(clause)]
    ordered = sorted(whole, key=lambda clause: (_complexity(clause), str(clause)))
    pieces: list[Clause] = []
    for number, clause in enumerate(ordered):
        remaining = [clause]
        for earlier in ordered[:number]:
            remaining = _bounded([piece for rest in remaining for piece in rest.minus(earlier)])
        pieces = _bounded(pieces + [piece for rest in remaining if (piece := _with_consequences(rest))])
    return tuple(Clause({span.form: span for span in piece.sorted_spans}) for piece in pieces)


def _bounded(pieces: list[Clause]) -> list[Clause]:
    if len(pieces) > MAX_CLAUSES:
        raise TooManyClausesError(f"The predicate is more than {MAX_CLAUSES} disjoint clauses.")
    return pieces


def _without_holes(clause: Clause) -> list[Clause]:
    """Cut a clause at the holes of its bands: an interval is a band, one with a hole is not."""
    pieces = [clause]
    for form, span in clause.spans.items():
        if span.holes and _is_monotone(form):
            cuts = [Clause({form: part} if not part.is_free else {}) for part in span.intervals()]
            rest = [Clause({f: s for f, s in piece.spans.items() if f != form}) for piece in pieces]
            pieces = _bounded([met for piece in rest for cut in cuts if (met := piece.meet(cut))])
    return pieces


def _is_monotone(form: sympy.Expr) -> bool:
    """Return whether the form is a sum of a part in i and one that is monotone in j."""
    parts = split_sum(form, I, J)
    return parts is not None and direction(parts[1], J) is not None


def _complexity(clause: Clause) -> int:
    return sum(_span_complexity(span) for span in clause.spans.values())


def _span_complexity(span: Span) -> int:
    if _is_monotone(span.form) and not span.holes:
        return 0
    return 1 if split_sum(span.form, I, J) else 2


def _with_consequences(clause: Clause) -> Clause | None:
    """Use that m(i) - m(j) has the sign of i - j for nondecreasing m; None if the clause can't hold then."""
    gap = clause.spans.get(I - J)
    if gap is None:
        return clause
    result: Clause | None = clause
    for form in clause.spans:
        parts = split_sum(form, I, J)
        if result is None or parts is None or form == I - J or parts[0].xreplace({I: J}) != -parts[1]:
            continue
        if (direction(parts[0], I) or 0) > 0:
            result = result.meet(Clause({form: _same_sign(form, gap)}))
    return result


def _same_sign(form: sympy.Expr, gap: Span) -> Span:
    low = 0 if gap.low is not None and gap.low >= 0 else None
    high = 0 if gap.high is not None and gap.high <= 0 else None
    return Span(form, low, high)
