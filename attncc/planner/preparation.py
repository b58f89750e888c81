"""Preparation: what is settled of a pattern's passes before its tables are known, so that a device can bind these.

A pass is prepared for lengths, and for tables of known shapes and dtypes. Where its queries and keys lie, and which
tiles there are, is computed from the tables alone (attncc.backends.binding), and nothing waits for that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import sympy

from attncc.frontend.patterns import Pattern
from attncc.frontend.templates import filled
from attncc.ir.claims import Bounds
from attncc.ir.normal import TooManyClausesError, comparison, digest
from attncc.ir.placeholders import Placeholder
from attncc.ir.predicate import TRUE, Predicate, conjunction
from attncc.ir.symbols import NK, NQ, B, H
from attncc.ir.tables import Read, TableData, TableSymbol
from attncc.planner.checks import check
from attncc.planner.relation import Relation, relate
from attncc.planner.search import possible_clauses
from attncc.planner.shape import Shape

#: Batch entries and heads that share all arrays of a pass; None for all of them.
Members = tuple[tuple[int, ...] | None, tuple[int, ...] | None]
#: Of each table, by the symbol of its placeholder in the template: its shape, and bounds of its entries.
TableKinds = tuple[tuple[TableSymbol, tuple[int, ...], tuple[int, int]], ...]


@dataclass(frozen=True, eq=False)
class PreparedPass:
    """The pairs of one clause, whose layout isn't known before its tables are.

    Attributes:
        predicate: Where it connects pairs; look-ups have the batch entry and head among their indices.
        relation: The clause in its relational parts; without any, for a predicate that is kept whole.
        residual: What is evaluated for each pair of a partial tile; None where key ranges say it all.
    """

    predicate: Predicate
    relation: Relation
    residual: Predicate | None


@dataclass(frozen=True, eq=False)
class PreparedGroup:
    """Heads whose predicate has one structure, and the passes that compute it.

    Attributes:
        members: The batch entries and heads for which the passes are bound, each with arrays of its own.
        passes: Disjoint passes.
        note: Why there is but one pass, where the predicate is too much to be taken apart.
    """

    members: tuple[Members, ...]
    passes: tuple[PreparedPass, ...]
    note: str = ""

    @cached_property
    def indices(self) -> tuple[list[int], list[int]]:
        """The batch entry and the head that stand for each of the members."""
        batches, heads = ([0 if some is None else some[0] for some in side] for side in zip(*self.members, strict=True))
        return batches, heads


@dataclass(frozen=True, eq=False)
class PreparedPattern:
    """A template prepared for lengths, and for tables of known shapes and dtypes.

    Attributes:
        predicate: The predicate, with a placeholder for tables of one kind where the template has one for any.
        shape: The lengths; heads and batch entries count where the pattern depends on them.
        symbols: The symbols of these placeholders, by those of the template's.
        groups: All heads of all batch entries.
    """

    predicate: Predicate
    shape: Shape
    symbols: Mapping[TableSymbol, TableSymbol]
    groups: tuple[PreparedGroup, ...]


def kinds_of(pattern: Pattern) -> TableKinds:
    """Return what is known of a pattern's tables without a look at their entries."""
    return tuple((symbol, table.shape, table.promised) for symbol, table in pattern.bound.items())


def prepare(template: Predicate, kinds: TableKinds, shape: Shape) -> PreparedPattern:
    """Return the passes of a template for any tables of these kinds.

    Raises PatternError or TableError where it isn't shown for all of these that look-ups lie inside of their tables and
    that arithmetic fits 64 bits.
    """
    slots = {symbol: _slot(symbol.table, sizes, promised) for symbol, sizes, promised in kinds}
    whole = bound = filled(template, slots)
    check(whole, shape)
    lengths = {NQ: sympy.Integer(shape.q_len), NK: sympy.Integer(shape.kv_len)}
    whole = whole.map(lambda atom: comparison(atom.relation, atom.expr.xreplace(lengths)))
    alike: dict[str, tuple[Predicate, list[int]]] = {}
    for head in range(shape.heads if H in template.free else 1):
        own = _of_head(whole, head)
        alike.setdefault(digest(own), (own, []))[1].append(head)
    by_entry, by_head = B in template.free, H in template.free
    groups = []
    for predicate, heads in alike.values():
        chosen = tuple(heads) if by_head else None
        rows = [(head,) for head in heads] if H in predicate.free else [chosen]
        entries = [(batch,) for batch in range(shape.batch)] if by_entry else [None]
        members = tuple((batches, own_heads) for batches in entries for own_heads in rows)
        groups.append(PreparedGroup(members, *_passes(predicate, shape)))
    symbols = {symbol: TableSymbol(slot) for symbol, slot in slots.items()}
    return PreparedPattern(bound, shape, symbols, tuple(groups))


def _slot(placeholder: TableData, sizes: tuple[int, ...], promised: tuple[int, int]) -> TableData:
    """Return the placeholder for tables of one kind. Of their bounds only those are believed that need no look."""
    assert isinstance(placeholder, Placeholder)
    claims = tuple(claim for claim in placeholder.kind.claims if not isinstance(claim, Bounds))
    kind = placeholder.kind._replace(claims=claims)
    return type(placeholder)(placeholder.name, placeholder.number, kind, *promised).of_shape(sizes)


def _of_head(predicate: Predicate, head: int) -> Predicate:
    """Return a predicate for one head; look-ups by the head keep its symbol."""

    def put_in(expr: sympy.Expr) -> sympy.Expr:
        kept = {read: sympy.Dummy(integer=True) for read in expr.atoms(Read) if H in read.free_symbols}
        inside = {dummy: read for read, dummy in kept.items()}
        return expr.xreplace(kept).xreplace({H: sympy.Integer(head)}).xreplace(inside)

    return predicate.map(lambda atom: comparison(atom.relation, put_in(atom.expr)))


def _passes(predicate: Predicate, shape: Shape) -> tuple[tuple[PreparedPass, ...], str]:
    try:
        clauses = possible_clauses(predicate, shape)
    except TooManyClausesError as error:
        kept = Relation(TRUE, TRUE, (), (), predicate)
        return (PreparedPass(predicate, kept, predicate),), f"{error} It is kept whole."
    passes = []
    for clause in clauses:
        relation = relate(clause, shape.kv_len)
        rest = relation.residual
        if relation.ordering is not None:
            rest = conjunction([rest, *(band.predicate() for band in relation.bands)])
        passes.append(PreparedPass(clause.predicate(), relation, None if rest == TRUE else rest))
    return tuple(passes), ""
