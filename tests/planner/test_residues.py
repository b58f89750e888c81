"""Counts by residues, compared with dense masks and independent counts, in strips and along slopes."""

from __future__ import annotations

import operator
from functools import reduce

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import attncc
from attncc.frontend.language import Condition, Index, Table, maximum, minimum
from attncc.ir.evaluate import evaluate_predicate
from attncc.ir.predicate import Predicate
from attncc.ir.symbols import I, J
from attncc.planner import axis, counts, residues
from attncc.planner.residues import Residues
from attncc.planner.search import layouts, possible_clauses
from attncc.planner.shape import Shape

i, j = Index.of(I), Index.of(J)
rng = np.random.default_rng(0)
few, pairs, positions = (Table(rng.integers(0, 5, shape)) for shape in (16, (12, 16), 800))
MILLION = 1 << 20


PERIODIC = [
    lambda m, n, a, b: (a * i + b * j) % m < n,
    lambda m, n, a, b: (a * i - b * j) % m == n % m,
    lambda m, n, a, b: (i * j + a * j) % m < n,
    lambda m, n, a, b: (i * i + b * j * j) % m < n // 2,
    lambda m, n, a, b: i % m <= j % n,
    lambda m, n, a, b: (i // a + j // b) % m != 0,
    lambda m, n, a, b: i % m // a == j % n // b,
    lambda m, n, a, b: few[i % 16] <= few[j % 13],
    lambda m, n, a, b: pairs[i % 12, j % 16] == 1,
    lambda m, n, a, b: minimum(i % m, j % n) < a,
    lambda m, n, a, b: abs(i - j) % m < (i + j) % a,
    lambda m, n, a, b: maximum(i, j) % m >= n,
]
BOUNDS = [
    lambda w, m: j <= i,
    lambda w, m: i - j < w,
    lambda w, m: j >= w,
    lambda w, m: i + j < 2 * w,
    lambda w, m: m * j <= i + w,
    lambda w, m: j // m <= i // m,
    lambda w, m: i % m != 0,
    lambda w, m: j % m < 2,
    lambda w, m: i * i > 100 * w,
    lambda w, m: positions[i] != 0,
    lambda w, m: positions[j] != 0,
    lambda w, m: positions[i] == positions[j],
]


@st.composite
def periodic(draw: st.DrawFn, depth: int = 2) -> Condition:
    """Draw a condition that is the same some queries or some keys on, at least on either side of the diagonal."""
    if depth and draw(st.booleans()):
        join = draw(st.sampled_from([operator.and_, operator.or_, operator.xor]))
        return join(draw(periodic(depth - 1)), draw(periodic(depth - 1)))
    return draw(st.sampled_from(PERIODIC))(*(draw(st.integers(1, 24)) for _ in range(4)))


@st.composite
def bounded(draw: st.DrawFn) -> Condition:
    """Draw a condition that leaves each query a range of keys, or some queries or keys out."""
    return draw(st.sampled_from(BOUNDS))(draw(st.integers(0, 300)), draw(st.integers(1, 9)))


def dense(predicate: Predicate, shape: Shape) -> int:
    rows, cols = np.arange(shape.q_len)[:, None] + shape.q_offset, np.arange(shape.kv_len)[None, :]
    return int(np.broadcast_to(evaluate_predicate(predicate, {I: rows, J: cols}), (shape.q_len, shape.kv_len)).sum())


SHAPES = st.builds(
    Shape,
    st.sampled_from([1, 31, 97, 128, 201]),
    st.sampled_from([1, 2, 64, 127, 300]),
    st.sampled_from([0, 1, 64, 203]),
)


@given(periodic(), st.lists(bounded(), max_size=2), SHAPES, st.sampled_from([300, 1 << 20]))
def test_counts_agree_with_the_dense_mask(
    condition: Condition, bounds: list[Condition], shape: Shape, cells: int
) -> None:
    predicate = reduce(operator.and_, bounds, condition).predicate
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(residues, "CELLS", cells)
        patch.setattr(axis, "CHUNK", 50)
        assert counts.count(predicate, shape, most=1 << 62) == dense(predicate, shape)
        for piece in possible_clauses(predicate, shape)[:3]:
            found = [Residues.of(layout, shape.q_offset).count() for layout in layouts(piece, shape)]
            assert set(found) == {dense(piece.predicate(), shape)}


def by_brute_residues(n: int, turn: int, holds: np.ndarray, *, causal: bool) -> int:
    """Count pairs of n x n positions, n a multiple of `turn`, given which residues of i and j hold."""
    turns = n // turn
    later = np.arange(turn)[None, :] <= np.arange(turn)[:, None]
    of_pair = turns * (turns - 1) // 2 + turns * later if causal else turns**2
    return int((holds * of_pair).sum())


SETS = {
    "anti-diagonals": (lambda i, j: (i + j) % 1024 < 3, 1024),
    "products": (lambda i, j: (i * j) % 64 == 0, 64),
    "blocks": (lambda i, j: (i // 64 + j // 64) % 4 < 3, 256),
    "unequal moduli": (lambda i, j: i % 4 <= j % 8, 8),
    "squares": (lambda i, j: (i * i + j * j) % 128 < 10, 128),
    "exclusive or": (lambda i, j: (i % 16 < 3) ^ (j % 16 < 5) ^ ((i * j) % 8 == 1), 16),
}


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("name", SETS)
def test_a_million_tokens_are_counted_without_tiles(name: str, causal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for function in ("bisect", "count"):
        monkeypatch.setattr(f"attncc.planner.bisect.{function}", lambda *_: pytest.fail("it looked at tiles"))
    condition, turn = SETS[name]
    pattern = attncc.pattern(lambda i, j: condition(i, j) & (j <= i) if causal else condition(i, j))
    holds = condition(np.arange(turn)[:, None], np.arange(turn)[None, :])
    assert attncc.plan(pattern, MILLION).nnz == by_brute_residues(MILLION, turn, holds, causal=causal)


def only(condition: Condition, n: int) -> Residues:
    """Return the residues of a condition that has one layout."""
    (piece,) = possible_clauses(condition.predicate, Shape(n, n))
    (layout,) = layouts(piece, Shape(n, n))
    return Residues.of(layout, 0)


def test_residues_of_sums_are_constant_along_a_slope() -> None:
    n, of_query, of_key, modulus, least = 1 << 16, 7919, 104729, 1000003, 30000
    found = only((of_query * i + of_key * j) % modulus < least, n)
    assert (found.rows, found.cols) == (1, modulus)
    query, key = (np.sort(np.arange(n) * factor % modulus) for factor in (of_query, -of_key))
    begin, end = np.searchsorted(query, key), np.searchsorted(query, key + least)
    wrapped = np.searchsorted(query, key + least - modulus)
    assert found.count() == int((end - begin + wrapped).sum())


def test_periods_end_with_the_axis() -> None:
    found = only(i * j % 5003 < 1000, 300)
    assert (found.rows, found.cols, found.slope) == (300, 300, 0)
    assert found.count() == dense((i * j % 5003 < 1000).predicate, Shape(300, 300))


def test_keys_beyond_the_axis_do_not_overflow() -> None:
    condition = (12345 * 10**8 * i + 10**13 * j) % 1000003 < 300000  # 10^19 within a period of keys
    assert only(condition, 1100).count() == dense(condition.predicate, Shape(1100, 1100))


def test_residues_are_evaluated_in_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def evaluated(predicate, env):
        found = evaluate_predicate(predicate, env)
        sizes.append(np.size(found))
        return found

    monkeypatch.setattr(residues, "evaluate_predicate", evaluated)
    n = 1 << 13
    found = counts.count(((i * j) % 4096 == 0).predicate, Shape(n, n), n * n)
    zeros = sum(int(np.gcd(a, 4096)) for a in range(4096))  # a * b = 0 modulo 4096 for gcd(a, 4096) of the b
    assert found == 4 * zeros
    assert sum(sizes) == 4096**2
    assert max(sizes) <= residues.CELLS
