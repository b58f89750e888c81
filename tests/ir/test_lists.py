"""Lists: rows in canonical form, membership by search, and bounds over boxes."""

from __future__ import annotations

import numpy as np
import pytest
import sympy
import torch
from hypothesis import given
from hypothesis import strategies as st

from attncc.ir import tables
from attncc.ir.evaluate import evaluate
from attncc.ir.interval import bounds
from attncc.ir.lists import IsMember, canonical, contains, contains_crossed, is_canonical
from attncc.ir.notation import condition
from attncc.ir.period import period
from attncc.ir.predicate import Atom
from attncc.ir.symbols import I, J
from attncc.ir.tables import TableData, TableSymbol


def drawn(seed: int, rows: int, size: int, most: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-2, most, (rows, size))


def member(data: np.ndarray, *row: sympy.Expr, number: sympy.Expr = J) -> IsMember:
    return IsMember(TableSymbol(TableData(canonical(data), "lists")), *row, number)


def wanted(data: np.ndarray, row: np.ndarray, number: np.ndarray) -> np.ndarray:
    return (number >= 0) & (data[row] == number[..., None]).any(-1)


def test_rows_ascend_with_nothing_in_front() -> None:
    found = canonical(np.array([[5, 3, 5, -7], [-1, -2, -1, -1], [2, 2, 2, 2]]))
    assert found.tolist() == [[3, 5], [-1, -1], [-1, 2]]
    assert canonical(np.array([[-1, -1], [-3, -4]])).tolist() == [[-1], [-1]]


def test_equal_sets_have_equal_content_whatever_their_order_and_room() -> None:
    lists = [[[3, 1, -1]], [[1, 3]], [[-5, 3, 1, 1, 3]]]
    assert len({TableData(canonical(np.array(data))).digest for data in lists}) == 1


@pytest.mark.parametrize("data", [[[3, 1]], [[2, 2]], [[-2, 1]], [[1, -1]], [[1 << 62]], [[True, False]]])
def test_other_tables_are_no_lists(data: list[list[int]]) -> None:
    assert not is_canonical(np.array(data))
    assert is_canonical(np.array([[-1, -1, 0, 7]]))


@given(st.integers(0, 999), st.integers(1, 6), st.integers(1, 9), st.integers(1, 12), st.sampled_from([0, 1 << 23]))
def test_membership_agrees_with_a_look_at_every_entry(
    seed: int, rows: int, size: int, most: int, most_marked: int
) -> None:
    """Whether the rows are marked in a matrix or searched."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "MOST_MARKED", most_marked)
        check_membership(drawn(seed, rows, size, most), rows, most)


def check_membership(data: np.ndarray, rows: int, most: int) -> None:
    row, number = np.arange(rows)[:, None], np.arange(-3, most + 3)[None, :]
    expr = member(data, I)
    right = wanted(data, np.broadcast_to(row, (rows, number.size)), np.broadcast_to(number, (rows, number.size)))
    found = evaluate(expr, {I: row, J: number})
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, right)
    on_torch = evaluate(expr, {I: torch.from_numpy(row), J: torch.from_numpy(number)})
    assert on_torch.dtype == torch.int64
    np.testing.assert_array_equal(on_torch.numpy(), right)
    singly = [[evaluate(expr, {I: r, J: int(n)}) for n in number[0]] for r in range(rows)]
    assert singly == right.astype(int).tolist()
    assert all(type(x) is int for x in singly[0])


@given(st.integers(0, 999), st.integers(1, 20), st.integers(1, 9), st.sampled_from([1, 2, 40]), st.booleans())
def test_marked_rows_have_what_a_search_finds(seed: int, values: int, size: int, step: int, ascend: bool) -> None:
    """Rows and values of several items, each with each; far values, and many entries for few of them, are searched."""
    draw = np.random.default_rng(seed)
    lists, row = canonical(drawn(seed, 6, size, 12)), draw.integers(0, 6, (3, 4, 1))
    first = draw.integers(-3, 9, (3, 1, 1))
    value = first + step * np.arange(values) if ascend else draw.integers(-3, 12 * step, (3, 1, values))
    found = contains_crossed(lists, (row,), value)
    if step == 1 and values > 8:
        assert found is not None
    if step == 40 and values > 1 and ascend:
        assert found is None
    if found is not None:
        assert found.dtype == np.int64
        np.testing.assert_array_equal(found, contains(lists, (row,), value))


@given(st.integers(0, 999), st.integers(1, 8), st.integers(1, 5), st.integers(1, 12), st.data())
def test_bounds_hold_and_are_exact_for_few_rows(
    seed: int, rows: int, size: int, most: int, data: st.DataObject
) -> None:
    lists = drawn(seed, rows, size, most)
    first, low = data.draw(st.integers(-1, rows)), data.draw(st.integers(-3, most + 2))
    last, high = data.draw(st.integers(first, rows + 1)), data.draw(st.integers(low, most + 3))
    box = {I: (np.array([first]), np.array([last])), J: (np.array([low]), np.array([high]))}
    row, number = np.ix_(np.arange(first, last + 1).clip(0, rows - 1), np.arange(low, high + 1))
    inside = wanted(lists, *np.broadcast_arrays(row, number))
    least, greatest = (int(end[0]) for end in bounds(member(lists, I), box))
    assert least <= inside.min()
    assert greatest >= inside.max()
    if len(np.unique(row)) <= 4:
        assert (least, greatest) == (inside.min(), inside.max())


def test_bounds_take_rows_of_several_dimensions_and_none() -> None:
    data = np.arange(24).reshape(2, 3, 4)
    box = {I: (np.array([0, 0, 1]), np.array([0, 1, 1])), J: (np.array([4, 4, 15]), np.array([7, 7, 16]))}
    assert [end.tolist() for end in bounds(member(data, I, sympy.Integer(1)), box)] == [[1, 0, 0], [1, 1, 1]]
    alone = member(data[0, 1], number=J)
    assert [end.tolist() for end in bounds(alone, box)] == [[1, 1, 0], [1, 1, 0]]


def test_a_number_in_one_row_is_decided_when_it_is_written() -> None:
    assert member(np.array([4, -1, 7]), number=sympy.Integer(7)) == 1
    assert member(np.array([4, -1, 7]), number=sympy.Integer(-1)) == 0


def test_memberships_read_as_such_and_repeat_as_their_parts_do() -> None:
    data = drawn(0, 4, 3, 9)
    blocks = member(data, sympy.floor(I / 64), number=sympy.floor(J / 64))
    assert condition(Atom("eq", blocks - 1)) == "⌊j / 64⌋ ∈ lists[⌊i / 64⌋]"
    assert condition(Atom("eq", blocks)) == "⌊j / 64⌋ ∉ lists[⌊i / 64⌋]"
    assert period(member(data, I % 4, number=J % 6), frozenset([(J, 1)])) == 6
    assert period(member(data, I % 4, number=J), frozenset([(J, 1)])) is None
