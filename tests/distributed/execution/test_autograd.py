"""Schedules run on gloo processes: outputs, lse, all gradients, and every byte."""

from __future__ import annotations

import by_hand
import pytest
from cases import patterns

PATTERNS = [name for name in patterns() if name != "256-window"]


def slow(*values: object):
    """Mark one of many values of a parameter: the others already take long enough."""
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.parametrize("name", PATTERNS)
@pytest.mark.parametrize("style", [slow("pull"), slow("push"), slow("third"), "mixed"])
def test_every_style_of_exchange_agrees_with_one_process(world, name: str, style: str) -> None:
    sizes = {"heads": 4, "kv_heads": 4, "batch": 2} if name in ("mix", "entries") else {}
    head_classes, pushed, _ = world(3).run("by_hand_case", name, "contiguous", style, "rounds", 2, sizes)[0]
    assert (pushed > 0) == (style != "pull" and name != "nothing")
    assert head_classes > 1 if sizes else head_classes == 1


@pytest.mark.parametrize("kind", ["striped", "zigzag", "scattered", "moved", "one idle", "all on the last"])
@pytest.mark.parametrize("route", [slow("direct"), slow("rounds"), "relayed", slow("detour")])
def test_every_partition_and_route_agrees_with_one_process(world, kind: str, route: str) -> None:
    world(4).run("by_hand_case", "strided", kind, "mixed", route, 3, {"seed": 3})


@pytest.mark.parametrize(("heads", "kv_heads"), [slow(4, 1), (4, 2), slow(6, 3)])
@pytest.mark.parametrize("name", ["causal", "mix", "entries"])
def test_grouped_queries_agree_with_one_process(world, name: str, heads: int, kv_heads: int) -> None:
    options = {"heads": heads, "kv_heads": kv_heads, "batch": 2, "value_dim": 5, "seed": 1}
    world(3).run("by_hand_case", name, "scattered", "mixed", "rounds", 2, options)


@pytest.mark.parametrize("dtype", ["bfloat16", slow("float16"), slow("float64")])
@pytest.mark.parametrize("name", ["causal", "global", "mix", "buckets"])
def test_other_dtypes_agree_with_one_process(world, name: str, dtype: str) -> None:
    options = {"heads": 4, "kv_heads": 2, "dtype": dtype}
    world(3).run("by_hand_case", name, "striped", "mixed", "detour", 3, options)


@pytest.mark.parametrize("n", [1, 7, 16])
@pytest.mark.parametrize("style", ["pull", "push", "mixed"])
def test_ranks_may_outnumber_units(world, n: int, style: str) -> None:
    world(4).run("by_hand_case", "causal", "contiguous", style, "relayed", 2, {"n": n})


@pytest.mark.parametrize("style", by_hand.STYLES)
def test_scores_with_weights_agree_with_one_process(world, style: str) -> None:
    options = {"heads": 4, "kv_heads": 2, "score": True}
    world(3).run("by_hand_case", "global", "zigzag", style, "relayed", 2, options)


@pytest.mark.parametrize("style", ["push", slow("mixed"), slow("pull")])
def test_rows_of_equal_scores_average_the_values_of_all_ranks(world, style: str) -> None:
    world(3).run("large_scores_case", "causal", style)


def test_a_schedule_runs_repeatedly(world) -> None:
    world(2).run("by_hand_case", "fixed", "scattered", "mixed", "rounds", 2, {"repeats": 3})


def test_relays_occur(world) -> None:
    assert world(4).run("by_hand_case", "causal", "contiguous", "pull", "relayed", 3, {})[0][2] > 0
