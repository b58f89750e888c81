"""Comparisons of real numbers: folding, canonical order, and implied conditions on positions."""

from __future__ import annotations

import copy
import math
import pickle

import pytest
import sympy
import torch

from attncc.backends.scoring import Evaluation
from attncc.errors import ScoreError
from attncc.frontend.language import Index, where
from attncc.frontend.real import Real
from attncc.ir.comparisons import AtMost, Below, Conjunction, Disjunction, Negation, Same, implied
from attncc.ir.functions import Choice, ConditionSymbol
from attncc.ir.notation import expression
from attncc.ir.predicate import FALSE, TRUE
from attncc.ir.score import ScoreExpression
from attncc.ir.symbols import SCORE, I, J

i, j, score = Index.of(I), Index.of(J), Real(SCORE)
CAUSAL, NEAR = (j <= i).predicate, (i - j < 4).predicate
ON_CAUSAL, ON_NEAR = ConditionSymbol(CAUSAL), ConditionSymbol(NEAR)
POSITIVE = Below(sympy.S.Zero, SCORE)


def test_constant_comparisons_fold() -> None:
    assert Below(sympy.Integer(1), sympy.Float(1.5)) == ConditionSymbol(TRUE)
    assert Same(sympy.S.NegativeInfinity, sympy.Integer(0)) == ConditionSymbol(FALSE)
    assert Conjunction(POSITIVE, ConditionSymbol(FALSE)) == ConditionSymbol(FALSE)
    assert Conjunction(POSITIVE, ConditionSymbol(TRUE)) == POSITIVE
    assert Disjunction(ON_CAUSAL, ON_NEAR) == ConditionSymbol(CAUSAL | NEAR)
    assert Negation(Negation(POSITIVE)) == POSITIVE


def test_connectives_have_a_canonical_order() -> None:
    other = AtMost(SCORE, sympy.Integer(3))
    assert Conjunction(other, ON_CAUSAL, POSITIVE, ON_NEAR) == Conjunction(
        Conjunction(POSITIVE, ON_NEAR), Conjunction(ON_CAUSAL, other)
    )


def test_negations_of_comparisons_hold_for_nan() -> None:
    scores = torch.tensor([1.0, -1.0, math.nan, 0.0])
    evaluation = Evaluation({}, (), scores.dtype, scores.device, scores)
    assert evaluation(Negation(POSITIVE)).tolist() == [False, True, True, True]
    assert evaluation(AtMost(SCORE, sympy.S.Zero)).tolist() == [False, True, False, True]


def test_comparisons_imply_conditions_on_positions() -> None:
    assert implied(Conjunction(ON_CAUSAL, POSITIVE)) == CAUSAL
    assert implied(Conjunction(ON_CAUSAL, POSITIVE), holds=False) == TRUE
    assert implied(Negation(Disjunction(ON_CAUSAL, POSITIVE))) == ~CAUSAL
    assert implied(Disjunction(ON_CAUSAL, POSITIVE)) == TRUE


def test_comparisons_survive_pickling() -> None:
    expr = Choice(Conjunction(ON_CAUSAL, Negation(POSITIVE)), SCORE, 2 * SCORE)
    assert pickle.loads(pickle.dumps(expr)) == copy.deepcopy(expr) == expr


def test_comparisons_print_as_mathematics() -> None:
    chosen = where((score > 0) & ~(score < 3) | (j <= i), score, 0.5 * score)
    assert expression(chosen.expr) == "(score if ((j ≤ i) ∨ ((0 < score) ∧ ¬(score < 3))) else 0.5·score)"


def test_conditions_contribute_no_derivative() -> None:
    turned = where(score > 0, score**2, 3 * score)
    assert turned.expr.diff(SCORE) == Choice(POSITIVE, 2 * SCORE, sympy.Integer(3))


def test_infinite_sums_in_a_comparison_are_refused() -> None:
    assert ScoreExpression(where(score > -math.inf, score, 0).expr)
    with pytest.raises(ScoreError, match="one side of a comparison"):
        ScoreExpression(where(score * -math.inf < 3, score, 0).expr)
