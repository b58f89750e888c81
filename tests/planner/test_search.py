"""The search for a plan: groups of heads, alternatives, and the choice among them."""

from __future__ import annotations

import numpy as np
import pytest

import attncc
from attncc.errors import ConfigError, ShapeError
from attncc.ir.evaluate import evaluate_predicate
from attncc.ir.symbols import I, J
from attncc.planner.search import (
    DENSE_ROWS,
    TARGET,
    TILE,
    fused_layout,
    layouts,
    plan,
    plan_for,
    possible_clauses,
)
from attncc.planner.shape import Shape

SHAPE = Shape(24, 24, heads=6, batch=3)
ROWS, COLS = np.arange(24)[:, None], np.arange(24)[None, :]


@attncc.pattern
def far_and_near(i, j, *, l: int):
    return (j <= i) & ((i - j < l) | ((i - j) % l == 0))


@attncc.pattern
def far(i, j, *, least: int):
    return i - j >= least


@attncc.pattern
def last(i, j, *, first: int):
    return j >= first


@attncc.pattern
def three(i, j, *, l: int):
    """Two bands that stay where they are, and classes that are sorted."""
    return (j <= i) & ((i - j < l) | ((i - j >= 3 * l) & (i - j < 4 * l)) | ((i - j) % l == 0))


def test_every_alternative_has_all_pairs() -> None:
    pattern = three(l=8)
    [group] = plan(pattern, 64, tile=(16, 16)).groups
    edges = int(attncc.dense_mask(pattern, 64).sum())
    assert {way.name for way in group.alternatives} == {"split", "fused", "mixed", "dense"}
    for way in group.alternatives:
        assert sum(work.nnz for work in way.passes) == edges, way.name


def test_the_cheapest_alternative_runs_unless_another_is_preferred() -> None:
    made = plan(far_and_near(l=16), 4096)
    [group] = made.groups
    seconds = [way.seconds for way in group.alternatives]
    assert seconds == sorted(seconds)
    last = group.alternatives[-1].name
    preferred = made.preferring(last)
    assert preferred.groups[0].alternatives[0].name == last
    assert preferred.nnz == made.nnz
    assert made.preferring("none of that name").groups[0].alternatives == group.alternatives


@attncc.pattern
def scattered(i, j, *, share: int):
    return (7919 * i + 104729 * j + i * j % 1009) % 1000003 < share


@attncc.pattern
def blocks(i, j, *, chosen: attncc.Table):
    return chosen[i // 64, j // 64] == 1


def test_the_dense_alternative_computes_every_pair_in_tall_tiles() -> None:
    pattern = far_and_near(l=16)
    [group] = plan(pattern, 1000, tile=(64, 32)).preferring("dense").groups
    [work] = group.passes
    assert (work.layout.kind, work.residual) == ("identity", pattern.predicate)
    assert (work.tiles.num_full, work.tiles.num_partial) == (0, 2 * 32)
    assert (work.block_m, work.block_n) == (DENSE_ROWS, 32)
    assert group.nnz == work.nnz == attncc.dense_mask(pattern, 1000).sum()


def test_dense_runs_on_a_cpu_where_no_tile_can_be_skipped() -> None:
    assert plan(scattered(share=20_000), 1024, tile=(64, 64)).groups[0].alternatives[0].name == "dense"


@pytest.mark.parametrize("target", ["h100", "cpu"])
@pytest.mark.parametrize("length", [1024, 4096])
def test_dense_loses_where_tiles_can_be_skipped(length: int, target: str) -> None:
    """The key ranges cover all keys; only tiles show which blocks are connected."""
    chosen = (np.random.default_rng(0).random((length // 64, length // 64)) < 0.1).astype(int)
    ways = plan(blocks(chosen=chosen), length, tile=(64, 64), target=target).groups[0].alternatives
    assert [way.name for way in ways] == ["split", "dense"]
    assert ways[0].passes[0].tiles.num_tiles == chosen.sum()


def test_dense_gains_nothing_on_gpus() -> None:
    ways = plan(scattered(share=20_000), 1024, target="h100").groups[0].alternatives
    assert [way.name for way in ways] == ["split", "dense"]
    assert ways[0].seconds == pytest.approx(ways[1].seconds, rel=0.01)


def test_full_patterns_have_no_dense_alternative() -> None:
    assert [way.name for way in plan(attncc.load("full"), 64).groups[0].alternatives] == ["split"]


def test_clauses_impossible_at_the_shape_are_dropped() -> None:
    predicate = ((attncc.load("causal") & far(least=100)) | attncc.load("causal")).predicate
    assert len(possible_clauses(far(least=100).predicate, Shape(101, 101))) == 1
    assert possible_clauses(far(least=100).predicate, Shape(100, 100)) == []
    assert len(possible_clauses(predicate, Shape(50, 50))) == 1


def test_the_natural_order_is_tried_once() -> None:
    kinds = {
        name: [each.kind for each in layouts(possible_clauses(attncc.load(name).predicate, SHAPE)[0], SHAPE)]
        for name in ("causal", "full")
    }
    assert kinds == {"causal": ["identity"], "full": ["identity"]}
    [clause] = possible_clauses(stride().predicate, SHAPE)
    assert [each.kind for each in layouts(clause, SHAPE)] == ["sorted", "identity"]


@attncc.pattern
def stride(i, j):
    return (i - j) % 5 == 0


def test_fused_layouts_cover_their_clauses() -> None:
    predicate = far_and_near(l=8).predicate
    layout = fused_layout(predicate, possible_clauses(predicate, SHAPE), SHAPE)
    start, stop = layout.key_ranges.at(np.arange(24))
    under = (start[:, None] <= COLS) & (stop[:, None] > COLS)
    mask = evaluate_predicate(predicate, {I: ROWS, J: COLS})
    assert layout.kind == "identity"
    assert layout.residual == predicate
    assert not np.any(mask & ~under)


@pytest.mark.parametrize("sizes", [(0, 10), (10, 0), (0, 0)])
def test_empty_lengths_run_nothing(sizes: tuple[int, int]) -> None:
    [group] = plan(far_and_near(l=4), *sizes).groups
    assert [(way.name, way.passes, way.seconds) for way in group.alternatives] == [("empty", (), 0.0)]


@pytest.mark.parametrize("pattern", [far(least=100), far(least=3) & last(first=62)], ids=repr)
def test_sets_empty_at_these_lengths_have_no_pass(pattern: attncc.Pattern) -> None:
    """The first is empty by intervals, the second only within the key ranges."""
    made = plan(pattern, 64)
    assert made.nnz == 0
    assert made.groups[0].passes == ()


@pytest.mark.parametrize("tile", [(96, 64), (64, 0), (64,), 64, (64, 64.0), [64, 64]])
def test_tiles_must_be_pairs_of_powers_of_two(tile: object) -> None:
    with pytest.raises(ConfigError, match="powers of two"):
        plan(attncc.load("causal"), 64, tile=tile)


def test_kv_len_defaults_to_the_end_of_the_queries() -> None:
    causal = attncc.load("causal")
    assert plan(causal, 8, q_offset=4).shape == Shape(8, 12, 4)
    assert plan(causal, 8, 20, q_offset=4).shape == Shape(8, 20, 4)
    with pytest.raises(ShapeError, match="q_len"):
        plan(causal, -1)


def test_equal_requests_share_a_plan() -> None:
    made = plan(far_and_near(l=16), 512)
    assert plan_for(far_and_near(l=16), Shape(512, 512), TILE, TARGET) is made
    assert plan(far_and_near(l=16), 512, tile=(64, 64)) is not made
    assert plan(far_and_near(l=17), 512) is not made
