"""Remainders: sympy's, without its rules for products of remainders, two of which change the value."""

from __future__ import annotations

import sympy


class Mod(sympy.Mod):  # type: ignore[misc]
    """`p % q`, as sympy has it, but for products with remainders among their factors, which are kept as they are.

    sympy 1.14 squares these factors, x * (i % 3) % 7 becoming x * (i % 3)**2 % 7, or takes others out of the remainder.
    """

    @classmethod
    def eval(cls, p: sympy.Expr, q: sympy.Expr) -> sympy.Expr | None:
        """Return what the remainder simplifies to, None where it is kept."""
        among = isinstance(p, sympy.Mul) and any(isinstance(factor, sympy.Mod) for factor in p.args)
        return None if among and not isinstance(-p, sympy.Mod) else super().eval(p, q)
