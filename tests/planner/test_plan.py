"""Plans: choice, counts, caching, explanations, and refusals."""

from __future__ import annotations

import numpy as np
import pytest

import attncc
from attncc.errors import ConfigError, PatternError, ShapeError, TableError
from attncc.planner.bisect import pairs
from attncc.planner.passes import TILINGS
from attncc.testing import check_plan

N = 1 << 20
rng = np.random.default_rng(0)


def layouts(plan: attncc.Plan) -> list[str]:
    return [work.layout.kind for work in plan.groups[0].passes]


def test_strided_splits_into_a_window_and_sorted_classes() -> None:
    plan = attncc.plan(attncc.load("strided", l=128), 32768)
    assert layouts(plan) == ["identity", "sorted"]
    assert plan.groups[0].alternatives[0].name == "split"
    assert all(work.residual is None for work in plan.groups[0].passes)
    area = sum(work.tiles.visited for work in plan.groups[0].passes)
    assert area * 20 < 32896 * 128 * 128  # of the tiles that FlexAttention visits


def test_fixed_compacts_its_summary_columns() -> None:
    plan = attncc.plan(attncc.load("fixed", l=128, c=8), 32768)
    assert "compacted" in layouts(plan)


def test_documents_are_sorted_by_id() -> None:
    ids = rng.integers(0, 40, 4096)
    plan = attncc.plan(attncc.load("document", ids=ids), 4096)
    assert layouts(plan) == ["sorted"]
    assert plan.nnz == sum(int(count) ** 2 for count in np.bincount(ids))


@pytest.mark.parametrize(
    ("pattern", "edges"),
    [
        (attncc.load("sliding_window", window=256), N * 256 - 255 * 256 // 2),
        (attncc.load("causal"), N * (N + 1) // 2),
        (attncc.load("full"), N * N),
        (attncc.load("block_diagonal", block=64), N * 64),
        (attncc.load("prefix", length=100), N * (N + 1) // 2 + 100 * 99 // 2),
    ],
    ids=lambda value: str(value),
)
def test_edge_counts_are_exact_for_a_million_tokens(pattern: attncc.Pattern, edges: int) -> None:
    assert attncc.plan(pattern, N).nnz == edges


@attncc.pattern
def square_keys(i, j):
    """A filter without a period."""
    return (j * j < 1000) & (j <= i)


def test_lengths_too_long_to_list_are_refused() -> None:
    with pytest.raises(ShapeError, match="1,073,741,824 positions") as caught:
        attncc.plan(square_keys, 1 << 30, tile=(1 << 16, 1 << 16))
    assert "at most 268,435,456" in caught.value.rule
    assert "q_offset" in caught.value.fix


def test_periodic_layouts_list_positions_on_demand() -> None:
    n, l = 1 << 30, 128
    plan = attncc.plan(attncc.load("strided", l=l), n, tile=(1 << 16, 1 << 16))
    classes = l * (n // l) * (n // l + 1) // 2
    columns = classes - n - (n - l)  # without the window's: those of the diagonals 0 and l
    assert plan.nnz == n * (l + 1) - l * (l + 1) // 2 + columns
    assert layouts(plan) == ["identity", "sorted"]
    with pytest.raises(ShapeError, match="1,073,741,824 positions"):
        _ = plan.groups[0].passes[1].rows.positions


def test_bands_need_no_list_of_positions() -> None:
    n = 1 << 29  # beyond what is listed
    plan = attncc.plan(attncc.load("sliding_window", window=256), n, tile=(1 << 16, 1 << 16))
    assert plan.nnz == n * 256 - 255 * 256 // 2
    assert attncc.plan(attncc.load("causal"), n, tile=(1 << 16, 1 << 16)).nnz == n * (n + 1) // 2


def test_counts_include_heads_and_batch_entries() -> None:
    p = attncc.per_head([attncc.load("causal"), attncc.load("full")])
    plan = attncc.plan(p, 10, heads=3, batch=7)
    assert plan.mask_shape == (3, 10, 10)
    assert plan.nnz == 55 + 100 + 55
    assert plan.pairs == 7 * plan.nnz
    assert plan.flops(64) == 4 * 64 * plan.pairs
    assert len(plan.groups) == 2


def test_tables_may_differ_by_batch_entry_and_head() -> None:
    for shape in ((2, 40), (2, 3, 40), (1, 3, 40)):
        ids = rng.integers(0, 3, shape)
        p = attncc.load("document", ids=ids)
        plan = attncc.plan(p, 40, heads=3, batch=2)
        check_plan(plan, attncc.dense_mask(p, 40, heads=3, batch=2).numpy())


def test_equal_patterns_share_a_plan() -> None:
    first = attncc.plan(attncc.load("strided", l=48), 999)
    assert attncc.plan(attncc.load("strided", l=48).union(), 999) is first


def test_lengths_are_symbols() -> None:
    @attncc.pattern
    def last_quarter(i, j, n_k, n_q):
        return (j >= n_k - n_k // 4) & (i % attncc.maximum(1, n_q // 8) == 0)

    check_plan(attncc.plan(last_quarter(), 50, 70), attncc.dense_mask(last_quarter(), 50, 70).numpy())


@pytest.mark.parametrize("sizes", [(0, 0), (0, 5), (5, 0), (1, 1)])
def test_empty_axes_have_no_edges(sizes: tuple[int, int]) -> None:
    plan = attncc.plan(attncc.load("strided"), *sizes)
    assert plan.nnz == sizes[0] * sizes[1]
    assert plan.explain()


def test_residual_pairs_are_listed() -> None:
    @attncc.pattern
    def odd(i, j):
        return (abs(i - j) % 3 < 2) & ((i * j) % 5 != 0)

    plan = attncc.plan(odd(), 150, tile=(16, 32))
    mask = attncc.dense_mask(odd(), 150).numpy()
    listed = np.zeros_like(mask)
    for work in plan.all_passes():
        for rows, cols in pairs(work.layout, 0, work.tiles):
            listed[work.rows.at(rows), work.cols.at(cols)] = True
    np.testing.assert_array_equal(listed, mask)


def test_predicates_of_too_many_clauses_are_kept_whole() -> None:
    @attncc.pattern
    def many(i, j):
        result = j <= i
        for m in range(2, 12):
            result = result & ((i % m == 0) | (j % (m + 1) == 1) | (i - j < m))
        return result

    check_plan(attncc.plan(many(), 130), attncc.dense_mask(many(), 130).numpy())


def chain(i, j):
    result = j <= i
    for k in range(2, 14):
        result = result ^ ((i * k - j) % (k + 5) < 3)
    return result


def holes(i, j):
    result = j <= i
    for k in range(100):
        result = result & (i - j != 3 * k) & (i != 5 * k) & (j != 7 * k)
    return result


@pytest.mark.parametrize("function", [chain, holes])
def test_exploding_predicates_run_in_one_exact_pass(function) -> None:
    plan = attncc.plan(attncc.pattern(function)(), 130)
    check_plan(plan, attncc.dense_mask(attncc.pattern(function)(), 130).numpy())
    ways = plan.groups[0].alternatives
    assert {way.name for way in ways} == {"fused", "dense"}
    assert [[work.residual is None for work in way.passes] for way in ways] == [[False], [False]]
    assert "kept whole" in plan.explain()
    assert "more than" in plan.describe()["groups"][0]["note"]


def test_lookups_inside_a_chain_are_checked_efficiently() -> None:
    @attncc.pattern
    def look_ups(i, j, *, t: attncc.Table):
        result = t[j] == 1
        for k in range(3, 23):
            result = result ^ ((t[j] == k % 5) & (j % k == 1))
        return result

    t = rng.integers(0, 5, 64)
    check_plan(attncc.plan(look_ups(t=t), 64), attncc.dense_mask(look_ups(t=t), 64).numpy())
    with pytest.raises(TableError, match="64 entries"):
        attncc.plan(look_ups(t=t), 65)


def test_explanations_name_rejected_alternatives() -> None:
    plan = attncc.plan(attncc.load("strided", l=64), 4096)
    text = str(plan)
    assert "i − 64 ≤ j ≤ i" in text
    assert "layout sorted" in text
    assert "lost: fused" in text
    described = plan.describe()
    assert described["edges"] == plan.nnz
    assert described["groups"][0]["alternatives"][0]["name"] == "split"


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: attncc.plan(attncc.load("causal"), -1), ShapeError, "q_len=-1"),
        (lambda: attncc.plan(attncc.load("causal"), 2**31), ShapeError, "below 2\\^31"),
        (lambda: attncc.plan(attncc.load("causal"), 4.0), ShapeError, "q_len=4.0"),
        (lambda: attncc.plan(attncc.load("causal"), 4, heads=0), ShapeError, "heads=0"),
        (lambda: attncc.plan(attncc.load("causal"), 4, q_offset=-(2**31)), ShapeError, "above -2"),
        (lambda: attncc.plan(attncc.load("causal"), 4, tile=(48, 64)), ConfigError, "powers of two"),
        (lambda: attncc.plan(attncc.load("causal"), 4, target="abacus"), ConfigError, "abacus"),
        (lambda: attncc.plan(attncc.load("document", ids=[0, 1]), 3), TableError, "has 2 entries"),
        (lambda: attncc.plan(attncc.load("document", ids=[[0, 1, 1]] * 2), 3, batch=3), TableError, "has 2 entries"),
    ],
)
def test_invalid_calls_are_refused(call, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        call()


def test_guarded_lookups_are_accepted() -> None:
    @attncc.pattern
    def offsets(i, j, *, t: attncc.Table):
        return (i - j >= 0) & (i - j < 4) & t[i - j]

    p = offsets(t=[True, False, True, True])
    check_plan(attncc.plan(p, 33), attncc.dense_mask(p, 33).numpy())

    @attncc.pattern
    def unguarded(i, j, *, t: attncc.Table):
        return t[i - j] & (j <= i)

    with pytest.raises(TableError, match="guard the look-up"):
        attncc.plan(unguarded(t=[True, False]), 33)


def test_moduli_that_become_zero_are_refused() -> None:
    @attncc.pattern
    def eighth(i, j, n_k):
        return i % (n_k // 8) == j % (n_k // 8)

    assert attncc.plan(eighth(), 64).nnz == 64 * 8
    with pytest.raises(PatternError, match="divisor or modulus"):
        attncc.plan(eighth(), 4)


def test_wide_key_values_and_classes_do_not_overflow() -> None:
    @attncc.pattern
    def recent(i, j, *, t: attncc.Table, s: attncc.Table):
        return (t[j] <= t[i]) & (t[j] > t[i] - 2**55) & (s[i] == s[j]) & (i % 3 == j % 3)

    times = np.sort(rng.integers(0, 2**60, 300))
    stations = rng.integers(-(2**60), 2**60, 4)[np.arange(300) % 4]
    p = recent(t=times, s=stations)
    check_plan(attncc.plan(p, 300), attncc.dense_mask(p, 300).numpy())


def test_passes_cache_few_tilings() -> None:
    """A search asks for the same blocks repeatedly; keeping all tilings would fill memory."""
    (group,) = attncc.plan(attncc.load("causal"), 512).groups
    work = group.passes[0]
    assert work.tiled(16, 32) is work.tiled(16, 32)
    assert work.tiled(work.block_m, work.block_n) is work
    for block in range(1, 100):
        assert work.tiled(16, 16 * block).tiles.block_n == 16 * block
        assert len(work._tilings) <= TILINGS
