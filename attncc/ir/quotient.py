"""Quotients, rounded down: sympy's `floor` of a fraction by a number, a node of their own by anything else."""

from __future__ import annotations

import sympy


class FloorDiv(sympy.Function):  # type: ignore[misc]
    """`FloorDiv(a, b)` is a // b for a divisor that isn't a number; a divisor below 1 counts as 1.

    The planner shows that divisors are positive. sympy's floor of a fraction may turn both signs, or cancel.
    """

    is_integer = True

    @classmethod
    def eval(cls, a: sympy.Expr, b: sympy.Expr) -> sympy.Expr | None:
        """Return what the quotient simplifies to, None where it is kept."""
        return quotient(a, b) if b.is_Integer and b > 0 else None

    def _eval_is_nonnegative(self) -> bool | None:
        nonnegative: bool | None = self.args[0].is_nonnegative
        return nonnegative or None


def quotient(a: sympy.Expr, b: sympy.Expr) -> sympy.Expr:
    """Return a // b; where sympy finds a part of it exact, as in (2 * i + 2 * j) * i // 2, without fractions."""
    if not (b.is_Integer and b > 0):
        return FloorDiv(a, b)
    found = sympy.floor(a / b)
    whole = all(term.as_coeff_Mul()[0].is_Integer for term in sympy.Add.make_args(found))
    return found if whole else sympy.expand(found)
