"""The algebra of patterns: what `&`, `|`, `~`, causal() and the like make of templates and predicates."""

from __future__ import annotations

from collections.abc import Sequence

from attncc.frontend.templates import PatternTemplate
from attncc.ir.normal import comparison
from attncc.ir.predicate import Predicate, conjunction, disjunction
from attncc.ir.remainder import Mod
from attncc.ir.symbols import H, I, J


def united(template: PatternTemplate) -> list[Predicate]:
    """Return the union of the subsets, merged heads."""
    return [template.predicate]


def turned(template: PatternTemplate) -> list[Predicate]:
    """Return the union in which head h sees subset h mod p."""
    return [by_head(*template.subsets)]


def subset(template: PatternTemplate, number: int) -> list[Predicate]:
    """Return subset number mod p."""
    return [template.subsets[number % len(template.subsets)]]


def without_future(template: PatternTemplate) -> list[Predicate]:
    """Return every subset without the keys after each query."""
    past = comparison("ge", I - J)
    return [subset & past for subset in template.subsets]


def moved(template: PatternTemplate, n: int) -> list[Predicate]:
    """Return every subset at positions from n on: i + n and j + n take the places of i and j."""
    later = {I: I + n, J: J + n}
    return [
        subset.map(lambda atom: comparison(atom.relation, atom.expr.xreplace(later))) for subset in template.subsets
    ]


def others(template: PatternTemplate) -> list[Predicate]:
    """Return all pairs that no subset has."""
    return [~template.predicate]


def both(*predicates: Predicate) -> Predicate:
    """Return the pairs that all predicates have."""
    return conjunction(predicates)


def either(*predicates: Predicate) -> Predicate:
    """Return the pairs that some predicate has."""
    return disjunction(predicates)


def intersection(made_of: Sequence[str]) -> str:
    """Return how the pattern that `both` makes is written, of texts of its parts."""
    return " & ".join(enclosed(text, "|") for text in made_of)


def union(made_of: Sequence[str]) -> str:
    """Return how the pattern that `either` makes is written, of texts of its parts."""
    return " | ".join(enclosed(text, "&") for text in made_of)


def per_head(made_of: Sequence[str]) -> str:
    """Return how the pattern that `by_head` makes is written, of texts of its parts."""
    return f"per_head([{', '.join(made_of)}])"


def enclosed(text: str, signs: str) -> str:
    """Return a text, in brackets if one of the signs stands in it outside of brackets."""
    depth = 0
    for character in text:
        depth += (character in "([") - (character in ")]")
        if not depth and character in signs:
            return f"({text})"
    return text


def by_head(*predicates: Predicate) -> Predicate:
    """Return the pairs that head h has by predicates[h mod p]."""
    turn = Mod(H, len(predicates))
    parts = [conjunction([comparison("eq", turn - m), predicate]) for m, predicate in enumerate(predicates)]
    return disjunction(parts)
