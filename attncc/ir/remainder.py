"""Remainders: sympy's by a number, without its rules for products of remainders, two of which change the value."""

from __future__ import annotations

import sympy


class Mod(sympy.Mod):  # type: ignore[misc]
    """`p % q`, as sympy has it, but for what is kept as it is: products with remainders among their factors, and
    remainders by what isn't a number.

    sympy 1.14 squares these factors, x * (i % 3) % 7 becoming x * (i % 3)**2 % 7, or takes others out of the remainder.
    A modulus below 1 counts as 1; the planner shows that there is none.
    """

    is_integer = True

    @classmethod
    def eval(cls, p: sympy.Expr, q: sympy.Expr) -> sympy.Expr | None:
        """Return what the remainder simplifies to, None where it is kept."""
        if not (q.is_Integer and q > 0):
            return None
        among = isinstance(p, sympy.Mul) and any(isinstance(factor, sympy.Mod) for factor in p.args)
        return None if among and not isinstance(-p, sympy.Mod) else super().eval(p, q)

    def _eval_is_nonnegative(self) -> bool:
        return True
