"""Evaluation: each operator as Python computes it, over numbers, numpy's arrays and torch's tensors alike."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from operator import xor
from typing import Any

import numpy as np
import pytest
import sympy
import torch
from hypothesis import given
from hypothesis import strategies as st

from attncc.frontend.language import Index, Table, maximum, minimum
from attncc.ir import evaluate as module
from attncc.ir.condition import predicate_of
from attncc.ir.evaluate import Consecutive, evaluate, evaluate_predicate
from attncc.ir.predicate import FALSE, TRUE
from attncc.ir.symbols import I, J
from attncc.ir.tables import Read, TableData, TableSymbol

i, j = Index.of(I), Index.of(J)
ROWS, COLS = np.arange(-5, 12)[:, None], np.arange(9)[None, :]
FORMS: dict[str, tuple[sympy.Expr, Callable[[int, int], int]]] = {
    "sum": (I + 2 * J - 7, lambda i, j: i + 2 * j - 7),
    "product": (3 * I * J, lambda i, j: 3 * i * j),
    "power": (I**3 - J**2, lambda i, j: i**3 - j**2),
    "modulus of a negative number": (sympy.Mod(I - J, 4), lambda i, j: (i - j) % 4),
    "floor of a negative number": (sympy.floor((I - 2 * J) / 3), lambda i, j: (i - 2 * j) // 3),
    "floor of a quotient of forms": (sympy.floor((I + 3) / (J + 1)), lambda i, j: (i + 3) // (j + 1)),
    "minimum of three": (sympy.Min(I, J, 4), lambda i, j: min(i, j, 4)),
    "maximum of three": (sympy.Max(I, 2 * J, 3), lambda i, j: max(i, 2 * j, 3)),
    "absolute value": (sympy.Abs(I - J), lambda i, j: abs(i - j)),
}


def entry(data: np.ndarray, *indices: sympy.Expr) -> sympy.Expr:
    return Read(TableSymbol(TableData(data, "t")), *indices)


@pytest.mark.parametrize("name", FORMS)
def test_every_operator_agrees_with_python_integers(name: str) -> None:
    expr, formula = FORMS[name]
    expected = np.array([[formula(int(row), int(col)) for col in COLS[0]] for row in ROWS[:, 0]])
    np.testing.assert_array_equal(np.broadcast_to(evaluate(expr, {I: ROWS, J: COLS}), expected.shape), expected)
    on_torch = evaluate(expr, {I: torch.from_numpy(ROWS), J: torch.from_numpy(COLS)})
    assert on_torch.dtype == torch.int64
    np.testing.assert_array_equal(on_torch.expand(expected.shape).numpy(), expected)
    for row, col in ((-5, 0), (3, 8), (11, 4)):
        found = evaluate(expr, {I: row, J: col})
        assert isinstance(found, int)
        assert found == formula(row, col)


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor], ids=["numpy", "torch"])
def test_lookups_outside_a_table_are_clipped(kind: Callable[[Any], Any]) -> None:
    data = np.array([[3, 1, 4], [1, 5, 9]])
    index, other = kind(np.array([-7, 0, 1, 5])), kind(np.array([2, -1, 7, 1]))
    found = evaluate(entry(data, I, J), {I: index, J: other})
    assert found.tolist() == [4, 3, 9, 5]
    assert evaluate(entry(data, I, J), {I: 9, J: -9}) == 1


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor], ids=["numpy", "torch"])
def test_narrow_tables_are_widened_in_arithmetic(kind: Callable[[Any], Any]) -> None:
    index = kind(np.array([0, 1]))
    assert evaluate(100 * entry(np.array([100, 120], np.int8), I), {I: index}).tolist() == [10000, 12000]
    truths = np.array([True, False])
    assert evaluate(entry(truths, I) + entry(truths, I + J), {I: index, J: 0}).tolist() == [2, 0]


def test_comparisons_and_connectives_agree_with_numpy() -> None:
    condition = ((i - j >= 3) & (i % 3 == j % 3)) | ((j != 4) & ~(i < 6))
    expected = ((ROWS - COLS >= 3) & (ROWS % 3 == COLS % 3)) | ((COLS != 4) & ~(ROWS < 6))
    for convert in (np.asarray, torch.as_tensor):
        found = evaluate_predicate(condition.predicate, {I: convert(ROWS), J: convert(COLS)})
        np.testing.assert_array_equal(np.asarray(found), expected)
    assert evaluate_predicate(condition.predicate, {I: 9, J: 3}) is True
    assert (evaluate_predicate(TRUE, {}), evaluate_predicate(FALSE, {})) == (True, False)


def test_repeated_subtrees_are_evaluated_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    evaluator_of = module.comparison_evaluator
    monkeypatch.setattr(module, "comparison_evaluator", lambda atom: asked.append(atom) or evaluator_of(atom))
    links = [(j % (k + 3) == k % 3) if k % 2 else (i - k * j < 5) for k in range(12)]
    predicate = reduce(xor, links).predicate
    found = evaluate_predicate(predicate, {I: ROWS, J: COLS})
    expected = reduce(xor, (evaluate_predicate(link.predicate, {I: ROWS, J: COLS}) for link in links))
    np.testing.assert_array_equal(found, expected)
    assert len(asked) < 10 * len(links) < predicate.occurrences


def test_unknown_nodes_are_an_error() -> None:
    with pytest.raises(TypeError, match="no evaluation rule for sin"):
        evaluate(sympy.sin(I), {I: 1})


def test_extremes_inside_an_index_are_evaluated() -> None:
    """As in `buckets[minimum(abs(i - j), 3)]`."""
    condition = Table([5, 6, 7, 8])[minimum(abs(i - j), 3)] > maximum(i, 6)
    found = evaluate_predicate(condition.predicate, {I: ROWS, J: COLS})
    np.testing.assert_array_equal(found, np.minimum(abs(ROWS - COLS), 3) + 5 > np.maximum(ROWS, 6))


@given(st.data(), st.integers(-3, 12), st.integers(0, 12))
def test_consecutive_integers_are_evaluated_as_an_array_of_them(data: st.DataObject, first: int, length: int) -> None:
    entries = np.array(data.draw(st.lists(st.integers(-5, 5), min_size=1, max_size=12)))
    table = Table(entries, name="ids")
    condition = predicate_of(table[j] + j // 2 >= table[i])
    env = {I: 2, J: np.arange(first, first + length)}
    found = evaluate_predicate(condition, Consecutive({I: 2}, J, first, first + length))
    np.testing.assert_array_equal(found, evaluate_predicate(condition, env))
