"""Packing: what an expression of positions in a document is in a sequence of documents that are laid end to end.

A query i and a key j of one document stand there at

    i + shift[i] - start[i]   and   j - start[i],   so that their difference is   i + shift[i] - j

with tables that are looked up by i alone: comparisons of both positions stay bands, and remainders of their difference
stay joins. What depends on j alone, as `j % 8` does, looks a table up by j, and stays a filter or one side of a join.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import sympy

from attncc.ir.arithmetic import direction, floor_quotient, split_sum
from attncc.ir.functions import AsReal, ConditionSymbol, Lookup
from attncc.ir.normal import comparison
from attncc.ir.predicate import Atom, Predicate
from attncc.ir.quotient import quotient
from attncc.ir.symbols import I, J
from attncc.ir.tables import Read


@dataclass(frozen=True, eq=False)
class Packing:
    """The symbols of a document, written in those of the packed sequence, for a query and a key of one document.

    Attributes:
        query: What i, b, n_q and n_k of the document are, in i.
        key: What j, b, n_q and n_k of the document are, in j.
        start: The position of the document's first key, in i.
        shift: How far the key that stands where the query does is from the query, in i.
        gaps: The least and the greatest difference between the position of a query and that of a key; None where no
            pair is outside of them.
        together: Whether a query and a key are of one document.
    """

    query: Mapping[sympy.Symbol, sympy.Expr]
    key: Mapping[sympy.Symbol, sympy.Expr]
    start: sympy.Expr
    shift: sympy.Expr
    gaps: tuple[int, int] | None
    together: Predicate

    def predicate(self, own: Predicate) -> Predicate:
        """Return the pairs of one document for which a predicate of its own positions holds."""
        return self.together & self._condition(own)

    def real(self, own: sympy.Expr) -> sympy.Expr:
        """Return a score's expression of a document's own positions."""
        packed = {node: AsReal(self._sum(node.args[0], self.key[J], self._gap)) for node in own.atoms(AsReal)}
        packed |= {node: self._each(node, self._gap_in_range) for node in own.atoms(Lookup)}
        conditions = own.atoms(ConditionSymbol)
        packed |= {node: ConditionSymbol(self._condition(node.predicate)) for node in conditions}
        return own.xreplace(packed)

    def _condition(self, own: Predicate) -> Predicate:
        return own.map(self._compared)

    def _compared(self, atom: Atom) -> Predicate:
        inverted = _without_quotient(atom)
        if inverted is not None:
            return inverted.map(self._compared)
        return comparison(atom.relation, self._sum(atom.expr, J - self.start, self._gap))

    def _sum(self, own: sympy.Expr, key: sympy.Expr, gap: sympy.Expr) -> sympy.Expr:
        """Rewrite a sum; `key` stands for the key's position, and `gap` for the query's position less the key's."""
        terms = sympy.Add.make_args(own)
        of_query, of_key = (_coefficient(terms, symbol).xreplace(self.query) for symbol in (I, J))
        both = of_query * gap if of_query + of_key == 0 else of_query * self.query[I] + of_key * key
        return sympy.Add(both, *(self._term(term, gap) for term in terms if not _is_linear(term)))

    def _term(self, own: sympy.Expr, gap: sympy.Expr) -> sympy.Expr:
        free = own.free_symbols
        if I in free and J in free:
            return self._each(own, self._gap_in_range if isinstance(own, Read) else gap)
        return own.xreplace(self.key if J in free else self.query)

    def _each(self, own: sympy.Expr, gap: sympy.Expr) -> sympy.Expr:
        """Rewrite the arguments of a function."""
        return own.func(*(self._sum(arg, self.key[J], gap) if arg.free_symbols else arg for arg in own.args))

    @property
    def _gap(self) -> sympy.Expr:
        return I + self.shift - J

    @cached_property
    def _gap_in_range(self) -> sympy.Expr:
        """The same for a look-up, which lies in its table between documents, too."""
        if self.gaps is None:
            return self._gap
        least, most = self.gaps
        return sympy.Max(least, sympy.Min(most, self._gap))


def _is_linear(term: sympy.Expr) -> bool:
    return term.as_independent(I, J, as_Add=False)[1] in (I, J)


def _coefficient(terms: tuple[sympy.Expr, ...], symbol: sympy.Symbol) -> sympy.Expr:
    """Return what a position is multiplied by in a sum, products with functions of positions left out."""
    parts = (term.as_independent(I, J, as_Add=False) for term in terms)
    return sympy.Add(*(factor for factor, rest in parts if rest == symbol))


def _without_quotient(atom: Atom) -> Predicate | None:
    """Return a comparison of a quotient, as of j // 8, as one of j itself: j <= i // 8 * 8 + 7 for j // 8 <= i // 8.

    Where a document starts inside a block of 8, its own quotients don't rise with j, but its positions do.
    """
    parts = split_sum(atom.expr, I, J)
    factor, function = parts[1].as_coeff_Mul() if parts else (0, None)
    if not isinstance(function, sympy.floor) or not direction(function, J):
        return None
    if atom.relation != "ge":
        equal = Atom("ge", atom.expr) & Atom("ge", -atom.expr)
        return equal if atom.relation == "eq" else equal.negated()
    assert parts is not None
    divided, divisor = floor_quotient(function)
    limit = divisor * quotient(parts[0], abs(factor))
    return Atom("ge", limit + divided if factor > 0 else limit + divisor - 1 - divided)
