"""Unfolding: absolute values, minima and maxima of a sum become comparisons without them.

`|i - j| <= w` hides a band, `-w <= i - j <= w`; a minimum or maximum of expressions in i and j does likewise.
"""

from __future__ import annotations

import sympy

from attncc.ir.predicate import Atom, Predicate, conjunction, disjunction
from attncc.ir.symbols import I, J

#: A sum of more such terms than this is left alone, since each doubles the comparisons.
MAX_TERMS = 4

_Folded = sympy.Abs | sympy.Min | sympy.Max


def unfolded(atom: Atom) -> Predicate | None:
    """Return the atom with one term of its sum unfolded, or None where none is or nothing would be gained.

    A union is worth its clauses only if the term mixes i and j: `j <= max(i, 8)` is a band as it is.
    """
    terms = [term for term in sympy.Add.make_args(atom.expr) if isinstance(term.as_coeff_Mul()[1], _Folded)]
    if len(terms) > MAX_TERMS:
        return None
    return next((found for term in terms if (found := _unfolded(atom, term)) is not None), None)


def _unfolded(atom: Atom, term: sympy.Expr) -> Predicate | None:
    factor, function = term.as_coeff_Mul()
    mixed = {I, J} <= function.free_symbols
    if atom.relation != "ge":
        equal = conjunction([Atom("ge", atom.expr), Atom("ge", -atom.expr)])
        return None if not mixed else equal if atom.relation == "eq" else equal.negated()
    inner = function.args[0]
    branches = (inner, -inner) if isinstance(function, sympy.Abs) else function.args  # |x| = max(x, -x)
    every = (factor > 0) == isinstance(function, sympy.Min)
    parts = (Atom("ge", atom.expr - term + factor * branch) for branch in branches)
    return conjunction(parts) if every else disjunction(parts) if mixed else None
