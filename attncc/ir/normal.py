"""Normal form: comparisons in lowest terms, predicates as unions of clauses, and the canonical digest.

A clause is a conjunction of spans, one per form; a form is an integer expression without constant term or common factor
and with a positive leading coefficient. So two comparisons of the same quantity always meet in one span.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import sympy

from attncc._util import caching
from attncc.errors import AttnccError
from attncc.ir.predicate import (
    FALSE,
    TRUE,
    And,
    Atom,
    Comparator,
    Connective,
    Constant,
    Or,
    Predicate,
    conjunction,
    disjunction,
)
from attncc.ir.remainder import Mod
from attncc.ir.size import MAX_TERMS, size
from attncc.ir.span import Span, tidy, union
from attncc.ir.unfold import unfolded

#: A predicate that needs more clauses than this is not expanded.
MAX_CLAUSES = 64
#: Nor is one whose expansion takes more intersections and comparisons of clauses than this, about a second's worth.
MAX_STEPS = 1 << 18


class TooManyClausesError(AttnccError):
    """The union of clauses would be too long to be useful; the planner then keeps the predicate whole."""


@dataclass(frozen=True)
class Clause:
    """A conjunction of spans, by form; the empty clause holds everywhere."""

    spans: Mapping[sympy.Expr, Span]

    def meet(self, other: Clause) -> Clause | None:
        """Return the intersection, or None where it is shown to be empty."""
        spans = dict(self.spans)
        for form, span in other.spans.items():
            spans[form] = spans[form].meet(span) if form in spans else span
            if spans[form].is_empty:
                return None
        return Clause({form: span for form, span in spans.items() if not span.is_free})

    def within(self, other: Clause) -> bool:
        """Return whether every span of `other` is implied by one of this clause's."""
        return all(form in self.spans and self.spans[form].within(span) for form, span in other.spans.items())

    def minus(self, other: Clause) -> list[Clause]:
        """Return disjoint clauses for this one without `other`; itself where they are shown to share nothing."""
        if self.meet(other) is None:
            return [self]
        pieces: list[Clause] = []
        rest: Clause | None = self
        for span in other.spans.values():
            if rest is None:
                break
            pieces += [piece for outside in span.complement() if (piece := rest.meet(_clause(outside)))]
            rest = rest.meet(_clause(span))
        return pieces

    def predicate(self) -> Predicate:
        """Return the clause as a conjunction of comparisons."""
        return self._predicate

    @cached_property
    def _predicate(self) -> Predicate:
        return conjunction(span.predicate() for span in self.spans.values())

    @property
    def sorted_spans(self) -> list[Span]:
        return sorted(self.spans.values(), key=str)

    def __str__(self) -> str:
        return self._text

    @cached_property
    def _text(self) -> str:
        return " & ".join(sorted(map(str, self.spans.values()))) or "everywhere"

    def __hash__(self) -> int:
        return hash(frozenset(self.spans.values()))


def comparison(relation: Comparator, expr: sympy.Expr) -> Predicate:
    """Return `expr >= 0`, `expr == 0` or `expr != 0` in lowest terms, or TRUE or FALSE where that is shown."""
    spans = spans_of(Atom(relation, expr))
    return disjunction(span.predicate() for span in spans) if spans else FALSE


def spans_of(atom: Atom) -> list[Span]:
    """Return the atom as at most one span, none where it can't hold; a free span holds everywhere."""
    expr = _congruence(_expanded(atom.expr)) if atom.relation != "ge" else _expanded(atom.expr)
    form, factor, constant = _primitive(expr)
    if form == 0:
        holds = {"ge": constant >= 0, "eq": constant == 0, "ne": constant != 0}[atom.relation]
        return [Span(form)] if holds else []
    span = tidy(_solve(atom.relation, form, factor, constant))
    return [] if span.is_empty else [span]


def clauses(predicate: Predicate) -> tuple[Clause, ...]:
    """Return clauses whose union is `predicate`, in a canonical order.

    Raises TooManyClausesError beyond MAX_CLAUSES or MAX_STEPS.
    """
    return _clauses(predicate).found()


def normalised(predicate: Predicate) -> Predicate:
    """Return the predicate as the union of its clauses, or as it is where there are too many of them."""
    try:
        return disjunction(clause.predicate() for clause in clauses(predicate))
    except TooManyClausesError:
        return predicate


@dataclass(frozen=True)
class _Clauses:
    """The clauses of a predicate, or the reason that there are none."""

    kept: tuple[Clause, ...] | None
    reason: str = ""

    def found(self) -> tuple[Clause, ...]:
        if self.kept is None:
            raise TooManyClausesError(self.reason)
        return self.kept


@caching.algebra(256)
def _clauses(predicate: Predicate) -> _Clauses:
    expansion = _Expansion()
    try:
        return _Clauses(tuple(sorted(expansion.merged(expansion.of(predicate)), key=str)))
    except TooManyClausesError as error:
        return _Clauses(None, str(error))


@caching.algebra(1024)
def digest(predicate: Predicate) -> str:
    """SHA-256 of the normal form: equal for equal sets written differently as far as the normal form can tell."""
    try:
        text = " | ".join(str(clause) for clause in clauses(predicate))
    except TooManyClausesError:
        text = structure(predicate)
    return hashlib.sha256(text.encode()).hexdigest()


def structure(predicate: Predicate) -> str:
    """Return the predicate as it is written, the parts of each union and intersection in a fixed order.

    A part that occurs more than once is written as a hash.
    """
    return _structure(predicate, dict.fromkeys(predicate.shared, ""))


def _structure(predicate: Predicate, hashes: dict[Predicate, str]) -> str:
    if isinstance(predicate, Atom):
        return f"{predicate.relation}({predicate.expr})"
    if not isinstance(predicate, Connective):
        return str(predicate == TRUE)
    if known := hashes.get(predicate):
        return known
    inner = sorted(_structure(arg, hashes) for arg in predicate.args)
    text = f"{type(predicate).__name__}({', '.join(inner)})"
    if predicate in hashes:
        text = hashes[predicate] = hashlib.sha256(text.encode()).hexdigest()
    return text


def rewritten(predicate: Predicate, change: Callable[[sympy.Expr], sympy.Expr] = lambda expr: expr) -> Predicate:
    """Return a predicate whose expressions are changed, its comparisons in lowest terms again."""
    return predicate.map(lambda atom: comparison(atom.relation, change(atom.expr)))


def _clause(span: Span) -> Clause:
    return Clause({} if span.is_free else {span.form: span})


class _Expansion:
    """Expands a predicate into clauses, in an order that is the same in every process, and within MAX_STEPS."""

    def __init__(self) -> None:
        self.steps = 0
        self.known: dict[Predicate, list[Clause]] = {}

    def of(self, predicate: Predicate) -> list[Clause]:
        """Return clauses whose union is the predicate; raises TooManyClausesError."""
        if isinstance(predicate, Constant):
            return [Clause({})] if predicate.value else []
        if predicate not in self.known:
            self.known[predicate] = self._atom(predicate) if isinstance(predicate, Atom) else self._joined(predicate)
        return self.known[predicate]

    def _atom(self, atom: Atom) -> list[Clause]:
        branches = unfolded(atom)
        return [_clause(span) for span in spans_of(atom)] if branches is None else self.of(branches)

    def _joined(self, predicate: Predicate) -> list[Clause]:
        parts = [self.of(arg) for arg in predicate.args] if isinstance(predicate, Connective) else []
        if isinstance(predicate, Or):
            return self._absorbed([clause for part in parts for clause in part])
        assert isinstance(predicate, And)
        product = [Clause({})]
        for factor in sorted(parts, key=lambda part: (len(part), [str(clause) for clause in part])):
            self._step(len(product) * len(factor))
            met = (a.meet(b) for a in product for b in factor)
            product = self._absorbed([clause for clause in met if clause is not None])
        return product

    def _absorbed(self, found: list[Clause]) -> list[Clause]:
        """Drop what is within another clause, in the order of their texts; raises beyond MAX_CLAUSES."""
        kept: list[Clause] = []
        for clause in sorted(set(found), key=lambda clause: (len(clause.spans), str(clause))):
            self._step(len(kept))
            if not any(clause.within(other) for other in kept):
                kept = [other for other in kept if not other.within(clause)] + [clause]
        if len(kept) > MAX_CLAUSES:
            raise TooManyClausesError(f"The predicate expands to more than {MAX_CLAUSES} clauses.")
        return kept

    def _step(self, number: int) -> None:
        self.steps += number
        if self.steps > MAX_STEPS:
            raise TooManyClausesError(f"Expanding the predicate takes more than {MAX_STEPS:,} steps.")

    def merged(self, found: list[Clause]) -> list[Clause]:
        """Join clauses that differ in one form only and whose spans there leave few numbers out, until none is left."""
        while True:
            work = self._absorbed(found)
            pair = next(((a, b, both) for a in work for b in work if a is not b and (both := _as_one(a, b))), None)
            if pair is None:
                return work
            found = [clause for clause in work if clause is not pair[0] and clause is not pair[1]] + [pair[2]]


def _as_one(a: Clause, b: Clause) -> Clause | None:
    """Return two clauses that differ in one form as one, where their spans there can be joined."""
    if a.spans.keys() != b.spans.keys():
        return None
    different = [form for form in a.spans if a.spans[form] != b.spans[form]]
    if len(different) != 1:
        return None
    joined = union(a.spans[different[0]], b.spans[different[0]])
    if joined is None:
        return None
    return Clause({form: s for form, s in {**a.spans, joined.form: joined}.items() if not s.is_free})


def _solve(relation: Comparator, form: sympy.Expr, factor: int, constant: int) -> Span:
    """Return the span of `factor * form + constant` related to 0."""
    if relation == "ge":
        limit = -constant
        return Span(form, low=-(-limit // factor)) if factor > 0 else Span(form, high=limit // factor)
    value, remainder = divmod(-constant, factor)
    if remainder:
        return Span(form, 1, 0) if relation == "eq" else Span(form)
    return Span(form, value, value) if relation == "eq" else Span(form, holes=frozenset([value]))


@caching.algebra(4096)
def _primitive(expr: sympy.Expr) -> tuple[sympy.Expr, int, int]:
    """Return (form, factor, constant) with `expr == factor * form + constant`."""
    terms = dict(expr.as_coefficients_dict())
    constant = int(terms.pop(sympy.S.One, 0))
    if not terms:
        return sympy.S.Zero, 1, constant
    factor = math.gcd(*(int(c) for c in terms.values()))
    leading = min(terms, key=lambda term: (str(term), 0))
    factor = factor if terms[leading] > 0 else -factor
    return sympy.Add(*(c // factor * term for term, c in terms.items())), factor, constant


def _expanded(expr: sympy.Expr) -> sympy.Expr:
    products = (term for term in sympy.Add.make_args(expr) if isinstance(term, sympy.Mul | sympy.Pow))
    return sympy.expand(expr) if any(p.has(sympy.Add) for p in products) else expr


def _congruence(expr: sympy.Expr) -> sympy.Expr:
    """Rewrite a sum related to 0 by equality: `a % m - b % m` as `(a - b) % m`, with a positive leading term."""
    terms = sympy.Add.make_args(expr)
    if len(terms) == 2:
        plus = [t for t in terms if isinstance(t, sympy.Mod)]
        minus = [-t for t in terms if isinstance(-t, sympy.Mod)]
        alike = plus and minus and plus[0].args[1] == minus[0].args[1]
        if alike and size(plus[0].args[0]).terms + size(minus[0].args[0]).terms <= MAX_TERMS:
            expr = Mod(plus[0].args[0] - minus[0].args[0], plus[0].args[1])
    if isinstance(expr, sympy.Mod):
        dividend, modulus = expr.args
        form, factor, constant = _primitive(_expanded(dividend))
        if constant == 0 and factor < 0:
            return Mod(-factor * form, modulus)
    return expr
