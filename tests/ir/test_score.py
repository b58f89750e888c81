"""Real expressions, weights, and score expressions: the grammar, derivatives, identity, and refusals."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
import torch

from attncc.backends.scoring import Evaluation, ScoredBlock
from attncc.errors import PatternError, ScoreError, TableError
from attncc.frontend.language import Index, Table, maximum, minimum, where
from attncc.frontend.real import Real, exp, log, real_of, sqrt, tanh
from attncc.frontend.weights import Weights, check_weights
from attncc.ir.functions import AsReal, Choice, Larger, Logarithm, Lookup, Magnitude, Root, Sign, Smaller
from attncc.ir.score import IDENTITY, ScoreExpression, by_key
from attncc.ir.symbols import SCORE, B, H, I, J

i, j, h, b = (Index.of(symbol) for symbol in (I, J, H, B))
score = Real(SCORE)
DATA = torch.randn(4, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
table = Weights((4, 9), "table", 0)
ROWS, COLS = torch.arange(6).view(-1, 1), torch.arange(9)
RAW = torch.randn(2, 3, 6, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
POSITIONS = {I: ROWS, J: COLS, H: torch.arange(3).view(-1, 1, 1), B: torch.arange(2).view(-1, 1, 1, 1)}

#: An expression, and the same in torch: (score, i, j, h, weights).
EXPRESSIONS = {
    "alibi": (score - table[h, 0] * abs(i - j), lambda s, i, j, h, w: s - w[h, 0] * (i - j).abs()),
    "cap": (3 * tanh(score / 3), lambda s, i, j, h, w: 3 * torch.tanh(s / 3)),
    "nested look-ups": (
        score + table[h, Table([0, 3, 1, 8, 2, 2, 4, 5, 7])[j]],
        lambda s, i, j, h, w: s + w[h, torch.tensor([0, 3, 1, 8, 2, 2, 4, 5, 7])[j]],
    ),
    "choice": (
        where(j <= i, score * table[h, j], table[3, j] - score),
        lambda s, i, j, h, w: torch.where(j <= i, s * w[h, j], w[3, j] - s),
    ),
    "choice of indices": (
        score * where(i % 2 == 0, j, i - j) / 7,
        lambda s, i, j, h, w: s * torch.where(i % 2 == 0, j, i - j) / 7,
    ),
    "look-up at a choice": (
        table[where(i < 2, 1, 2), j] * score,
        lambda s, i, j, h, w: w[torch.where(i < 2, 1, 2), j] * s,
    ),
    "functions": (
        exp(tanh(score)) + log(2 + abs(score)) * sqrt(1 + score**2),
        lambda s, i, j, h, w: torch.exp(torch.tanh(s)) + torch.log(2 + s.abs()) * torch.sqrt(1 + s**2),
    ),
    "extrema": (
        minimum(score, table[h, j]) * maximum(table[h, 2], 0.5) - minimum(1 + i, 2.5),
        lambda s, i, j, h, w: torch.minimum(s, w[h, j]) * torch.clamp(w[h, 2], min=0.5) - torch.clamp(1.0 + i, max=2.5),
    ),
    "powers": (
        score / (1 + i) + (1 + j) ** -2 + 2.0 ** (-h) + 1 / (2 + score**2),
        lambda s, i, j, h, w: s / (1 + i) + (1.0 + j) ** -2 + 2.0 ** (-h) + 1 / (2 + s**2),
    ),
    "numbers on the left": (
        1.5 - score + 2 * i - 0.25 * j + np.float64(0.5) * score,
        lambda s, i, j, h, w: 1.5 - s + 2 * i - 0.25 * j + 0.5 * s,
    ),
}


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_values_and_derivatives_agree_with_torch(name: str) -> None:
    made, formula = EXPRESSIONS[name]
    expression = ScoreExpression(made.real())
    raw, weights = RAW.clone().requires_grad_(), DATA.clone().requires_grad_()
    wanted = formula(raw, ROWS, COLS, POSITIONS[H], weights).expand_as(raw)
    block = ScoredBlock(expression, RAW, POSITIONS, [DATA])
    torch.testing.assert_close(block.value(), wanted.detach())
    changes = torch.randn_like(RAW)
    d_raw, d_weights = torch.autograd.grad(wanted, (raw, weights), changes, materialize_grads=True)
    torch.testing.assert_close(block.by_score(changes, block.value()), d_raw)
    sums = [torch.zeros_like(DATA)]
    block.add_by_weights(sums, changes, block.value())
    torch.testing.assert_close(sums[0], d_weights)


def test_derivatives_at_kinks_are_the_mean_of_both_sides() -> None:
    zeros = torch.zeros(1, 1, 1, 1, dtype=torch.float64)
    for made, wanted in ((abs(score), 0.0), (minimum(score, 0), 0.5), (maximum(0, score), 0.5)):
        block = ScoredBlock(ScoreExpression(made.real()), zeros, {}, [])
        assert float(block.by_score(torch.ones_like(zeros), zeros)) == wanted


def test_scores_of_minus_infinity_have_no_gradient() -> None:
    made = ScoreExpression((log(table[0, j]) + sqrt(score)).real())
    weights = torch.tensor([[0.0, 1.0]], dtype=torch.float64).expand(4, 2).repeat(1, 5)[:, :9]
    raw = torch.zeros(1, 1, 1, 9, dtype=torch.float64)
    block = ScoredBlock(made, raw, {J: COLS}, [weights])
    assert (block.value()[..., ::2] == -math.inf).all()
    sums = [torch.zeros(4, 9, dtype=torch.float64)]
    block.add_by_weights(sums, torch.ones_like(raw), block.value())
    assert sums[0][0].tolist() == [0.0, 1.0] * 4 + [0.0]
    assert (block.by_score(torch.ones_like(raw), block.value())[..., ::2] == 0).all()


def test_positions_are_evaluated_in_integers() -> None:
    far = (1 << 24) + 1  # not a float32
    expression = real_of(0.5 * (i - j))
    found = Evaluation({I: torch.tensor([far]), J: torch.tensor([far - 1])}, [], torch.float32, RAW.device)(expression)
    assert found.item() == 0.5


def test_scores_with_derivative_one_are_additive() -> None:
    for made, additive in (
        (score, True),
        (score - table[h, 0] * abs(i - j), True),
        (where(j < i, score + table[h, 1], score), True),
        (score - log(table[h, 0]), True),
        (2 * score, False),
        (where(j < i, score, -math.inf), False),
    ):
        assert ScoreExpression(made.real()).is_additive == additive
    bias = ScoreExpression((score + 0.5 * i).real()).bias
    assert bias == real_of(0.5 * i)


def test_dependence_on_the_gap_is_recognised() -> None:
    for made, along in (
        (score * abs(i - j), True),
        (table[h, minimum(abs(i - j), 8)], True),
        (where(i - j < 3, score, 2 * score), True),
        (score + i, False),
        (table[h, j], False),
        (where(j < 3, score, 2 * score), False),
        (score + 0.5 * ((maximum(i, j) - i) * j), False),  # 0 where i >= j
    ):
        assert ScoreExpression(made.real()).depends_on_gap == along


def test_equal_expressions_are_one_object() -> None:
    first = ScoreExpression((score + 0.1 * table[h, j]).real())
    second = ScoreExpression((0.1 * Weights((4, 9), "table")[h, j] + score).real())
    assert first == second
    assert hash(first) == hash(second)
    assert by_key(first.key) == first
    for other in (
        score + (0.1 + 1e-17 + 2e-17) * table[h, j],
        score + 0.1 * Weights((4, 9), "table", 1)[h, j],
        score + 0.1 * Weights((4, 8), "table")[h, j],
        score + 0.1 * Weights((4, 9), "of another name")[h, j],
    ):
        assert ScoreExpression(other.real()).key != first.key
    assert ScoreExpression((score + 0 * table[h, 1]).real()) == IDENTITY
    assert by_key("") is IDENTITY


def test_keys_are_equal_in_every_process() -> None:
    code = (
        "import attncc, torch\n"
        "s = attncc.t5_bias(weights=torch.zeros(4, 32)).then(attncc.softcap(cap=7.3))"
        ".then(attncc.alibi(slopes=torch.zeros(4)))\n"
        "print(s.key)"
    )
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(2)]
    assert runs[0].stdout == runs[1].stdout
    assert len(runs[0].stdout.strip()) == 64


def test_scores_print_as_mathematics() -> None:
    assert str(ScoreExpression((score - table[h, 0] * abs(i - j)).real())) == "score − table[h, 0]·|i − j|"
    assert str(ScoreExpression(where(j <= i, score, -math.inf).real())) == "(score if j ≤ i else −∞)"
    assert str(ScoreExpression((minimum(score, 2) + sqrt(abs(log(score)))).real())) == "√(|log(score)|) + min(score, 2)"


def test_expressions_use_documented_nodes_only() -> None:
    nodes = {AsReal, Choice, Larger, Logarithm, Lookup, Magnitude, Root, Sign, Smaller}
    for made, _ in EXPRESSIONS.values():
        expression = ScoreExpression(made.real())
        parts = [expression.expr, expression.derivative, *(d for _, d in expression.gradients)]
        for part in parts:
            names = {type(node).__name__ for node in _real_nodes(part)}
            known = {node.__name__ for node in nodes} | {"Add", "Mul", "Pow", "exp", "tanh", "Symbol"}
            assert names <= known, part


def _real_nodes(expr):
    if expr.is_number:
        return
    yield expr
    inner = () if isinstance(expr, AsReal | Lookup) else expr.args[1:] if isinstance(expr, Choice) else expr.args
    for arg in inner:
        yield from _real_nodes(arg)


def test_integers_remain_integers() -> None:
    assert isinstance(i + 3, Index)
    assert isinstance(minimum(i, 3), Index)
    for made in (i + 0.5, i / 2, minimum(i, 0.5), where(i < j, i, 0.5), np.float32(2) * i, i**-1, 2**i):
        assert isinstance(made, Real)


@pytest.mark.parametrize(
    ("write", "rule"),
    [
        (lambda: (score < 3) and i, "stand for all positions"),
        (lambda: score + (score < 3), "joined with"),
        (lambda: score % 2, "are for index expressions"),
        (lambda: score // 2, "are for index expressions"),
        (lambda: i / 2 % j, "Write `//` instead of `/`"),
        (lambda: score and 3, "stand for all positions"),
        (lambda: 3 if score else 4, "stand for all positions"),
        (lambda: where(score, 1, 2), "comparison is needed"),
        (lambda: score + (i < j), "joined with"),
        (lambda: score**0.5, "Powers are integers"),
        (lambda: score**score, "Powers are integers"),
        (lambda: (-2.0) ** score, "above 0"),
        (lambda: score / 0, "aren't 0"),
        (lambda: score + math.inf, "numbers below infinity"),
        (lambda: score * math.nan, "numbers below infinity"),
        (lambda: score + "3", "numbers below infinity"),
        (lambda: score + torch.ones(3), "attncc.Weights"),
        (lambda: math.tanh(score), "attncc.tanh"),
        (lambda: table[score, 0], "made of positions, integers and tables"),
        (lambda: Table([1, 2])[score], "made of positions, integers and tables"),
        (lambda: table[h], "one index a dimension"),
        (lambda: table[b, h, i], "one index a dimension"),
        (lambda: ScoreExpression((score * -math.inf).real()), "whole of a choice"),
        (lambda: ScoreExpression((score + sqrt(-2)).real()), "numbers are finite"),
        (lambda: ScoreExpression((score + log(-1)).real()), "numbers are finite"),
        (lambda: ScoreExpression((1 / (score - score)).real()), "aren't 0"),
    ],
)
def test_refusals_state_the_rule(write, rule: str) -> None:
    with pytest.raises((PatternError, ScoreError), match=rule):
        write()


@pytest.mark.parametrize(
    ("tensor", "rule"),
    [
        (torch.arange(3), "floating-point tensor"),
        (torch.zeros(3, dtype=torch.complex64), "floating-point tensor"),
        ([1.0, 2.0], "floating-point tensor"),
        (np.zeros(3), "floating-point tensor"),
        (torch.zeros(0), "at least one element"),
        (torch.zeros(1, 1, 1, 1, 1), "at most 4 dimensions"),
    ],
)
def test_invalid_weights_state_the_rule(tensor, rule: str) -> None:
    with pytest.raises(TableError, match=rule):
        check_weights(tensor, "slopes")


def test_expressions_that_no_longer_exist_are_named() -> None:
    with pytest.raises(ScoreError, match="no longer exists"):
        by_key("0" * 64)
