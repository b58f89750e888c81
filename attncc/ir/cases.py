"""Cases: an integer expression under guards that are disjoint and cover everything, which is what `where` becomes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import sympy

from attncc.errors import PatternError
from attncc.ir import size
from attncc.ir.normal import comparison
from attncc.ir.predicate import FALSE, TRUE, Comparator, Predicate, conjunction, disjunction

#: A nest of `where` that splits an expression into more cases than this is refused.
MAX_CASES = 64

Case = tuple[Predicate, sympy.Expr]
Cases = tuple[Case, ...]


def of_one(expr: sympy.Expr) -> Cases:
    """Return an expression as a single case."""
    return ((TRUE, expr),)


def combinations(values: Sequence[Cases]) -> list[tuple[Predicate, tuple[sympy.Expr, ...]]]:
    """Return every combination of cases of several expressions: (guard, their expressions)."""
    combined: list[tuple[Predicate, tuple[sympy.Expr, ...]]] = [(TRUE, ())]
    for cases in values:
        combined = [(guard & g, (*args, e)) for guard, args in combined for g, e in cases]
    return combined


def applied(function: Callable[..., sympy.Expr], *values: Cases) -> Cases:
    """Apply `function` to every combination of cases; raises PatternError where they, or a result, are too many."""
    return live((guard, size.checked(function(*args))) for guard, args in combinations(values))


def live(cases: Iterable[Case]) -> Cases:
    """Drop the cases that never hold; raises PatternError beyond MAX_CASES."""
    found = tuple((guard, expr) for guard, expr in cases if guard != FALSE)
    if len(found) > MAX_CASES:
        raise PatternError(
            f"`where` splits an expression into {len(found)} cases.",
            rule=f"At most {MAX_CASES} cases are supported.",
            fix="Put the choices into a table and look it up.",
        )
    return found


def chosen(guard: Predicate, yes: Cases, no: Cases) -> Cases:
    """Return `yes` where the guard holds, else `no`."""
    return live([(guard & g, e) for g, e in yes] + [(~guard & g, e) for g, e in no])


def related(relation: Comparator, cases: Cases) -> Predicate:
    """Return where an expression is related to 0."""
    return disjunction(conjunction([guard, comparison(relation, expr)]) for guard, expr in cases)
