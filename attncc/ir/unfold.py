"""Unfolding: absolute values, minima and maxima of a sum become comparisons without them.

`|i - j| <= w` hides a band, `-w <= i - j <= w`; a minimum or maximum of expressions in i and j does likewise.
Inside a residue or quotient, as in `|i - j| % 7 == i % 3`, they take a union over their cases.
"""

from __future__ import annotations

import math
from functools import partial

import sympy

from attncc.ir.predicate import Atom, Predicate, conjunction, disjunction
from attncc.ir.symbols import I, J

#: A sum of more such terms than this is left alone, since each doubles the comparisons.
MAX_TERMS = 4

_FOLDED = (sympy.Abs, sympy.Min, sympy.Max)


def unfolded(atom: Atom) -> Predicate | None:
    """Return the atom with one term of its sum unfolded, or None where none is or nothing would be gained.

    A union is worth its clauses only if the term mixes i and j: `j <= max(i, 8)` is a band as it is.
    """
    terms = [term for term in sympy.Add.make_args(atom.expr) if isinstance(term.as_coeff_Mul()[1], _FOLDED)]
    if len(terms) > MAX_TERMS:
        return None
    return next((found for term in terms if (found := _unfolded(atom, term)) is not None), None)


def _unfolded(atom: Atom, term: sympy.Expr) -> Predicate | None:
    factor, function = term.as_coeff_Mul()
    mixed = {I, J} <= function.free_symbols
    if atom.relation != "ge":
        equal = conjunction([Atom("ge", atom.expr), Atom("ge", -atom.expr)])
        return None if not mixed else equal if atom.relation == "eq" else equal.negated()
    every = (factor > 0) == isinstance(function, sympy.Min)
    parts = (Atom("ge", atom.expr - term + factor * branch) for branch in _branches(function))
    return conjunction(parts) if every else disjunction(parts) if mixed else None


def _branches(function: sympy.Expr) -> tuple[sympy.Expr, ...]:
    """Return the expressions among whose values the function's is: the least for a Min, else the greatest."""
    inner = function.args[0]
    return (inner, -inner) if isinstance(function, sympy.Abs) else function.args  # |x| = max(x, -x)


def by_cases(predicate: Predicate) -> Predicate:
    """Return the predicate as a union over the cases of its absolute values, minima and maxima that mix i and j.

    It is returned as it is where they have more cases than MAX_TERMS absolute values.
    """
    folded = {term for atom in predicate.atoms for term in atom.expr.atoms(*_FOLDED) if {I, J} <= term.free_symbols}
    if not folded or math.prod(len(_branches(term)) for term in folded) > 2**MAX_TERMS:
        return predicate
    term = min(folded, key=lambda term: (len(str(term)), str(term)))  # none that has another inside
    return disjunction(
        when & by_cases(predicate.map(partial(_put_in, {term: branch}))) for branch, when in _cases(term)
    )


def _put_in(values: dict[sympy.Expr, sympy.Expr], atom: Atom) -> Predicate:
    return Atom(atom.relation, atom.expr.xreplace(values))


def _cases(term: sympy.Expr) -> list[tuple[sympy.Expr, Predicate]]:
    """Return the values that a term takes and when, disjoint: among equal ones it is the first."""
    branches = _branches(term)
    sign = 1 if isinstance(term, sympy.Min) else -1

    def chosen(n: int) -> Predicate:
        others = ((other, int(k < n)) for k, other in enumerate(branches) if k != n)
        return conjunction(Atom("ge", sign * (other - branches[n]) - strictly) for other, strictly in others)

    return [(branch, chosen(n)) for n, branch in enumerate(branches)]
