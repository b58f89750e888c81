"""Bitwise operations agree with Python's integers in every evaluator and in bounds."""

from __future__ import annotations

import operator

import numpy as np
import pytest
import sympy
import torch
from hypothesis import given
from hypothesis import strategies as st

import attncc
from attncc.errors import PatternError
from attncc.frontend.language import Index
from attncc.ir.bits import MAX_SHIFT, BitAnd, BitOr, BitXor, LeftShift, RightShift, masked
from attncc.ir.evaluate import evaluate
from attncc.ir.interval import bounds, exactly
from attncc.ir.magnitude import LIMIT, magnitude
from attncc.ir.notation import expression
from attncc.ir.period import period
from attncc.ir.symbols import H, I, J

i, j = Index.of(I), Index.of(J)
BITWISE = {BitAnd: operator.and_, BitOr: operator.or_, BitXor: operator.xor}
SHIFTS = {LeftShift: operator.lshift, RightShift: operator.rshift}
NUMBERS = st.integers(-(2**62), 2**62 - 1) | st.integers(-300, 300)


@given(st.sampled_from(list(BITWISE)), NUMBERS, NUMBERS)
def test_bitwise_operations_agree_with_python(kind: type, a: int, b: int) -> None:
    wanted = BITWISE[kind](a, b)
    assert kind(sympy.Integer(a), sympy.Integer(b)) == wanted
    for expr in (kind(I, J), kind(I, sympy.Integer(b)), masked(I, sympy.Integer(b)) if kind is BitAnd else kind(J, I)):
        assert evaluate(expr, {I: a, J: b}) == wanted
        for array in (np.array, torch.tensor):
            assert int(evaluate(expr, {I: array(a), J: array(b)})) == wanted
    assert magnitude(kind(I, J), {I: abs(a), J: abs(b)}) >= abs(wanted)


@given(st.sampled_from(list(SHIFTS)), st.integers(-1000, 1000), st.integers(0, 50))
def test_shifts_agree_with_python(kind: type, a: int, n: int) -> None:
    wanted = SHIFTS[kind](a, n)
    for expr in (kind(I, J), kind(I, sympy.Integer(n))):
        assert evaluate(expr, {I: a, J: n}) == wanted
        for array in (np.array, torch.tensor):
            assert int(evaluate(expr, {I: array(a), J: array(n)})) == wanted
        assert magnitude(expr, {I: abs(a), J: n}) >= abs(wanted)


@st.composite
def boxes(draw: st.DrawFn) -> tuple[tuple[int, int], tuple[int, int]]:
    ends = [sorted(draw(st.tuples(*[st.integers(-40, 40) | st.integers(-(2**40), 2**40)] * 2))) for _ in range(2)]
    return tuple((low, min(high, low + draw(st.integers(0, 24)))) for low, high in ends)


@given(st.sampled_from([*BITWISE, *SHIFTS]), boxes(), st.booleans())
def test_bounds_contain_every_value(kind: type, box, unbounded: bool) -> None:
    (low, high), (least, most) = box
    if kind in SHIFTS:
        least, most = (min(abs(end), 20) for end in (least, most))
        least, most = sorted((least, most))
    made = exactly if unbounded else lambda value: np.array([value])
    found = bounds(kind(I, J), {I: (made(low), made(high)), J: (made(least), made(most))})
    function = (BITWISE | SHIFTS)[kind]
    values = [function(a, b) for a in range(low, high + 1) for b in range(least, most + 1)]
    assert int(found[0][0]) <= min(values)
    assert max(values) <= int(found[1][0])


@pytest.mark.parametrize("kind", BITWISE)
@pytest.mark.parametrize(("first", "second"), [(64, 0), (32, 32), (-64, 96)])
def test_bounds_of_aligned_blocks_are_exact(kind: type, first: int, second: int) -> None:
    block = {I: (np.array([first]), np.array([first + 31])), J: (np.array([second]), np.array([second + 15]))}
    values = [BITWISE[kind](a, b) for a in range(first, first + 32) for b in range(second, second + 16)]
    low, high = bounds(kind(I, J), block)
    assert (int(low[0]), int(high[0])) == (min(values), max(values))


def test_bitwise_operations_combine_like_terms() -> None:
    assert BitXor(I, J, I) == J
    assert BitOr(I, I, 0) == I
    assert BitAnd(I, -1) == I
    assert BitAnd(I, 12, 10) == BitAnd(8, I)
    assert BitXor(BitXor(I, 3), BitXor(J, 5)) == BitXor(J, I, 6)
    assert LeftShift(I, 3) == 8 * I


@pytest.mark.parametrize(
    ("written", "same"),
    [
        (i & 7, i % 8),
        (48 & i, i // 16 % 4 * 16),
        (i & ~7, i // 8 * 8),
        (i << 3, 8 * i),
        (i >> 3, i // 8),
        (~i, -i - 1),
    ],
)
def test_contiguous_masks_become_arithmetic(written: Index, same: Index) -> None:
    assert written.cases == same.cases


def test_masked_bits_are_periodic() -> None:
    along = frozenset([(I, 1)])
    assert period(BitAnd(I, sympy.Integer(0b10101)), along) == 32
    assert period(BitXor(I, J), along) is None


def test_bitwise_operations_print_as_in_python() -> None:
    assert expression(BitXor(I - J, 5)) == "((i − j) ^ 5)"
    assert expression(LeftShift(1, H) + BitOr(I, BitAnd(J, 5))) == "(i | (j & 5)) + (1 << h)"


def test_shifts_beyond_64_bits_are_refused_at_lengths_that_reach_them() -> None:
    @attncc.pattern
    def shifted(i, j):
        return (1 << j) >= i

    assert attncc.plan(shifted, 10, 60).nnz == sum((1 << key) >= query for query in range(10) for key in range(60))
    with pytest.raises(PatternError, match=f"shift by j can be {MAX_SHIFT + 1}"):
        attncc.plan(shifted, 10, MAX_SHIFT + 2)
    with pytest.raises(PatternError, match="64 bits"):
        attncc.plan(attncc.pattern(_far_shifted), 20, 60)
    assert magnitude(LeftShift(I, J), {I: 9, J: 60}) >= LIMIT


def _far_shifted(i, j):
    return (i << j) >= i


def test_patterns_express_morton_order() -> None:
    """Neighbours of a 16 x 16 image whose tokens lie along a Z-curve: the bits of column and row take turns."""

    def gathered(x):
        x = x & 0x5555
        for shift, mask in ((1, 0x3333), (2, 0x0F0F), (4, 0x00FF)):
            x = (x | (x >> shift)) & mask
        return x

    @attncc.pattern
    def neighbours(i, j):
        near = abs(gathered(i) - gathered(j)) <= 1
        return near & (abs(gathered(i >> 1) - gathered(j >> 1)) <= 1)

    rows, cols = np.arange(256)[:, None], np.arange(256)[None, :]
    near = [abs(gathered(rows >> n) - gathered(cols >> n)) <= 1 for n in (0, 1)]
    mask = attncc.dense_mask(neighbours, 256).numpy()
    np.testing.assert_array_equal(mask, near[0] & near[1])
    assert attncc.plan(neighbours, 256).nnz == mask.sum() == 46**2
