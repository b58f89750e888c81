"""Nodes of real expressions: folding, derivatives, copies and equality."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable

import pytest
import sympy

from attncc.frontend.language import Index
from attncc.ir.functions import (
    AsReal,
    Choice,
    ConditionSymbol,
    Cosine,
    ErrorFunction,
    Larger,
    Logarithm,
    Lookup,
    Magnitude,
    Root,
    Sign,
    Sine,
    Smaller,
    WeightsSymbol,
)
from attncc.ir.predicate import FALSE, TRUE
from attncc.ir.symbols import SCORE, I, J

i, j = Index.of(I), Index.of(J)
CONDITION = ConditionSymbol((j <= i).predicate)
FUNCTIONS: dict[str, tuple[Callable[..., sympy.Expr], Callable[..., float]]] = {
    "magnitude": (lambda x: Magnitude(x), abs),
    "root": (lambda x: Root(x**2 + 1), lambda x: math.sqrt(x**2 + 1)),
    "logarithm": (lambda x: Logarithm(x**2 + 2), lambda x: math.log(x**2 + 2)),
    "sine": (lambda x: Sine(x / 2), lambda x: math.sin(x / 2)),
    "cosine": (lambda x: Cosine(x**2), lambda x: math.cos(x**2)),
    "error function": (lambda x: ErrorFunction(3 * x), lambda x: math.erf(3 * x)),
    "smaller": (lambda x: Smaller(x, 1 - x), lambda x: min(x, 1 - x)),
    "larger": (lambda x: Larger(3 * x, x**2), lambda x: max(3 * x, x**2)),
    "chosen": (lambda x: Choice(CONDITION, x**3, 2 * x), lambda x: x**3),
    "nested": (lambda x: Smaller(Magnitude(x), Root(x**2 + 4)) * Sign(x), lambda x: x),
}


def number(expr: sympy.Expr, x: float) -> float:
    """The value of an expression of the score; of a choice, that of its first branch."""
    chosen = expr.replace(lambda node: isinstance(node, Choice), lambda node: node.args[1])
    return float(chosen.subs(SCORE, sympy.Float(x)))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_and_derivatives_agree_with_the_formula(name: str) -> None:
    made, formula = FUNCTIONS[name]
    expr, step = made(SCORE), 1e-5
    for x in (-2.3, -0.4, 0.7, 1.9):
        assert number(expr, x) == pytest.approx(formula(x))
        slope = (formula(x + step) - formula(x - step)) / (2 * step)
        assert number(expr.diff(SCORE), x) == pytest.approx(slope, rel=1e-6)


@pytest.mark.parametrize(
    ("folded", "value"),
    [
        (Magnitude(sympy.Integer(-3)), 3),
        (Root(sympy.Integer(9)), 3),
        (Root(sympy.Rational(1, 4)), sympy.Rational(1, 2)),
        (Root(sympy.Integer(-1)), sympy.S.NaN),
        (Logarithm(sympy.Integer(1)), 0),
        (Logarithm(sympy.Integer(0)), sympy.S.NegativeInfinity),
        (Logarithm(sympy.Integer(-2)), sympy.S.NaN),
        (Sign(sympy.Float(-0.5)), -1),
        (Cosine(sympy.Integer(0)), 1),
        (Sine(sympy.S.NegativeInfinity), sympy.S.NaN),
        (Smaller(SCORE, SCORE), SCORE),
        (Larger(sympy.Integer(2), sympy.Float(2.5)), 2.5),
        (Smaller(sympy.S.NegativeInfinity, sympy.Integer(2)), sympy.S.NegativeInfinity),
        (AsReal(sympy.Integer(7)), 7),
        (Choice(ConditionSymbol(TRUE), SCORE, I), SCORE),
        (Choice(ConditionSymbol(FALSE), SCORE, AsReal(I)), AsReal(I)),
        (Choice(CONDITION, SCORE, SCORE), SCORE),
    ],
    ids=str,
)
def test_constants_are_folded(folded: sympy.Expr, value: object) -> None:
    assert folded == value


def test_inexact_roots_and_logarithms_become_numbers() -> None:
    assert float(Root(sympy.Integer(2))) == math.sqrt(2)
    assert float(Logarithm(sympy.Integer(5))) == math.log(5)


def test_derivatives_treat_positions_and_weights_as_constants() -> None:
    weights = WeightsSymbol(0, (4, 9), "table")
    assert AsReal(I).diff(I) == 0
    assert (SCORE * AsReal(I - J) + Lookup(weights, I, J)).diff(SCORE) == AsReal(I - J)


def test_conditions_and_weights_are_equal_by_content() -> None:
    assert ConditionSymbol((i >= j).predicate) == CONDITION
    assert ConditionSymbol((j < i).predicate) != CONDITION
    named = WeightsSymbol(0, (4, 9), "table")
    assert {named} == {WeightsSymbol(0, (4, 9), "table")}
    assert named != WeightsSymbol(0, (4, 9), "of another name")
    assert named != WeightsSymbol(1, (4, 9), "table")
    assert named != WeightsSymbol(0, (9, 4), "table")
    assert CONDITION.free_symbols == {I, J}


def test_expressions_survive_pickling() -> None:
    weights = WeightsSymbol(1, (3,), "slopes")
    expr = Choice(CONDITION, SCORE - Lookup(weights, I) * AsReal(I - J), sympy.S.NegativeInfinity)
    for found in (pickle.loads(pickle.dumps(expr)), copy.deepcopy(expr)):
        assert found == expr
        assert found.args[0].predicate == expr.args[0].predicate
        [read] = found.atoms(Lookup)
        assert (read.weights.slot, read.weights.shape, read.weights.label) == (1, (3,), "slopes")
        assert read.indices == (I,)
