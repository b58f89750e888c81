"""Unfolding removes absolute values, minima and maxima and keeps the pairs."""

from __future__ import annotations

import numpy as np
import pytest
import sympy

from attncc.ir.evaluate import evaluate_predicate
from attncc.ir.predicate import Atom, Predicate
from attncc.ir.symbols import I, J
from attncc.ir.unfold import MAX_TERMS, by_cases, unfolded

GRID = {I: np.arange(24)[:, None], J: np.arange(24)[None, :]}
GAP = sympy.Abs(I - J)
UNFOLDED = [
    Atom("ge", 5 - GAP),
    Atom("ge", GAP - 5),
    Atom("eq", 5 - GAP),
    Atom("ne", 5 - GAP),
    Atom("ge", sympy.Min(I - J, 9 - J) + 3),
    Atom("ge", 6 - sympy.Max(I - J, J - 2 * I)),
    Atom("ge", 4 - sympy.Max(J, 3)),
]


def folds(predicate: Predicate) -> int:
    """Terms that are left to unfold, in all atoms."""
    return sum(len(atom.expr.atoms(sympy.Abs, sympy.Min, sympy.Max)) for atom in predicate.atoms)


@pytest.mark.parametrize("atom", UNFOLDED, ids=str)
def test_unfolded_comparisons_hold_for_the_same_pairs(atom: Atom) -> None:
    found = unfolded(atom)
    assert found is not None
    wanted = evaluate_predicate(atom, GRID)
    np.testing.assert_array_equal(evaluate_predicate(found, GRID), wanted)
    assert atom.relation != "ge" or folds(found) < folds(atom)


@pytest.mark.parametrize(
    "atom",
    [
        Atom("ge", I - J),
        Atom("ge", sympy.Max(I, 8) - J),
        Atom("eq", sympy.Max(I, 8) - J),
        Atom("ge", sum((sympy.Abs(I - J - c) for c in range(MAX_TERMS + 1)), sympy.Integer(-9))),
    ],
    ids=["no term", "a band as it is", "an equation of one side", "too many terms"],
)
def test_simple_comparisons_are_not_unfolded(atom: Atom) -> None:
    assert unfolded(atom) is None


FOLDED = [
    Atom("eq", sympy.Mod(GAP, 7) - sympy.Mod(I + J, 3)),
    Atom("ge", sympy.Mod(sympy.Min(I, J, 2 * J - 9), 5) - 2) & Atom("ge", sympy.Mod(sympy.Max(I, J), 4) - 1),
    Atom("ge", sympy.floor(sympy.Abs(sympy.Min(I, 2 * J) - J) / 3) - sympy.Mod(I * J, 5)),
]


@pytest.mark.parametrize("predicate", FOLDED, ids=["remainders", "extremes of both", "a quotient"])
def test_case_analysis_unfolds_everything(predicate: Predicate) -> None:
    found = by_cases(predicate)
    np.testing.assert_array_equal(evaluate_predicate(found, GRID), evaluate_predicate(predicate, GRID))
    assert folds(found) == 0


@pytest.mark.parametrize(
    "terms",
    [
        [sympy.Abs(I - J - c) for c in range(MAX_TERMS + 1)],
        [sympy.Min(I, *(sympy.Mod(J, c) for c in range(2, 7))), sympy.Max(I, *(sympy.Mod(J, c) for c in range(7, 10)))],
    ],
    ids=["terms", "arguments"],
)
def test_too_many_cases_are_not_unfolded(terms: list[sympy.Expr]) -> None:
    many = Atom("ge", sum((sympy.Mod(term, 9) for term in terms), sympy.Integer(-9)))
    assert by_cases(many) == many
