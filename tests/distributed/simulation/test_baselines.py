"""Baselines: bytes by their formulas, work by the mask, and overlap."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from attncc.backends.inputs import Inputs
from attncc.distributed.simulation.baselines import (
    Baseline,
    BlockScenario,
    all_gather,
    baselines,
    contiguous_blocks,
    cyclic_blocks,
    ring,
    striped_ring,
    ulysses,
    usp,
)
from attncc.distributed.simulation.simulate import launches
from attncc.distributed.topology import Topology
from attncc.errors import ConfigError, TopologyError
from attncc.ir.tables import Array

GROUPED = Inputs(batch=2, heads=16, kv_heads=4, head_dim=64, value_dim=64, dtype="bf16")


def between(mask: Array, block: Array, ranks: int) -> Array:
    """Pairs of a dense mask between blocks of tokens."""
    member = (block[:, None] == np.arange(ranks)).astype(float)
    found: Array = member.T @ mask @ member
    return found


def case(
    mask: Array,
    ranks: int,
    inputs: Inputs = GROUPED,
    topology: str = "64xh100",
    seconds_per_pair: float = 1e-9,
    direction: str = "forward",
) -> BlockScenario:
    length, found = len(mask), Topology.load(topology)
    heads = inputs.batch * inputs.heads
    return BlockScenario(
        inputs,
        length,
        heads * between(mask, contiguous_blocks(length, ranks), ranks),
        heads * between(mask, cyclic_blocks(length, ranks), ranks),
        found,
        dict.fromkeys(found.targets, seconds_per_pair),
        launches(found),
        direction,
    )


def causal(length: int) -> Array:
    return np.tri(length, dtype=bool)


def window(length: int, size: int) -> Array:
    return causal(length) & ~np.tri(length, k=-size, dtype=bool)


def kappa(inputs: Inputs) -> int:
    """Bytes of a token's keys and values."""
    return 2 * inputs.batch * inputs.kv_heads * inputs.head_dim * inputs.itemsize


def both_ways(inputs: Inputs) -> int:
    """Bytes of a token's queries and outputs: 2HDe."""
    return 2 * inputs.batch * inputs.heads * inputs.head_dim * inputs.itemsize


@pytest.mark.parametrize("ranks", [1, 2, 4, 16, 64])
def test_rings_and_all_gather_receive_the_expected_bytes(ranks: int) -> None:
    mask = window(256, 9)
    expected = kappa(GROUPED) * 256 * (ranks - 1) / ranks
    for way in (ring, striped_ring, all_gather):
        found = way(case(mask, ranks))
        assert found.received.tolist() == [expected] * ranks, found.name
        assert found.total_bytes == expected * ranks


@pytest.mark.parametrize("ranks", [1, 2, 4, 8, 16])
def test_ulysses_receives_the_expected_bytes(ranks: int) -> None:
    """With more ranks than key heads, each key head is sent to several ranks."""
    share = 256 / ranks * (ranks - 1) / ranks
    expected = share * (both_ways(GROUPED) + kappa(GROUPED) * max(1, ranks / GROUPED.kv_heads))
    assert ulysses(case(causal(256), ranks)).received.tolist() == [expected] * ranks


@pytest.mark.parametrize(("ranks", "heads"), [(8, 2), (16, 4), (64, 4), (64, 2)])
def test_usp_receives_the_expected_bytes(ranks: int, heads: int) -> None:
    from attncc.distributed.simulation.baselines import _all_usp

    parts = ranks // heads
    expected = 256 / ranks * (heads - 1) / heads * (both_ways(GROUPED) + kappa(GROUPED))
    expected += kappa(GROUPED) * 256 * (parts - 1) / ranks
    found = [each for each in _all_usp(case(causal(256), ranks)) if each.note.startswith(f"u = {heads},")]
    assert len(found) == 2
    for each in found:
        assert each.received.tolist() == [expected] * ranks


def test_baselines_receive_the_expected_bytes_where_nothing_divides() -> None:
    inputs = Inputs(batch=1, heads=12, kv_heads=6, head_dim=24, value_dim=40, dtype="fp32")
    length, ranks = 103, 4
    token = inputs.kv_heads * (24 + 40) * 4
    own = np.bincount(contiguous_blocks(length, ranks))
    assert own.tolist() == [25, 26, 26, 26]
    stripes = np.bincount(cyclic_blocks(length, ranks))
    one = case(causal(length), ranks, inputs)
    assert ring(one).received.tolist() == ((length - own) * token).tolist()
    assert striped_ring(one).received.tolist() == ((length - stripes) * token).tolist()
    gathered = all_gather(one)
    sizes = own if gathered.note.endswith("contiguous") else stripes
    assert gathered.received.tolist() == ((length - sizes) * token).tolist()
    # Three query heads a rank span two key heads; outputs of the other ranks' nine heads come back.
    swapped = (length - own) * (3 * 24 + 2 * (24 + 40)) * 4 + own * 9 * 40 * 4
    assert ulysses(case(causal(length), ranks, inputs)).received.tolist() == swapped.tolist()


def test_ulysses_needs_ranks_that_divide_heads() -> None:
    found = ulysses(case(causal(96), 32))
    assert found.timeline is None
    assert found.total_bytes == 0
    assert found.note == "not possible: 32 ranks don't divide 16 heads"


def test_baselines_compute_each_pair_once() -> None:
    """If only pairs take time, each timeline's computing adds up to the whole pattern."""
    for mask in (causal(96), window(96, 7), np.random.default_rng(0).random((96, 96)) < 0.1):
        for direction in ("forward", "backward"):
            one = replace(case(mask, 8, topology="8xh100", direction=direction), launch={"h100": 0.0})
            for found in baselines(one):
                assert found.timeline is not None
                assert found.timeline.compute.sum() == pytest.approx(32 * mask.sum() * 1e-9), found.name


def test_work_is_assigned_to_the_right_rank_and_round() -> None:
    one = replace(case(causal(8), 4, Inputs(1, 4, 4, 8, 8, "fp32"), "gloo"), launch={"cpu": 0.0})
    pair = 4 * 1e-9 / 0.5  # four heads, on half a target
    found = ring(one)
    assert found.timeline is not None
    expected = [[3, 3, 3, 3], [0, 4, 4, 4], [0, 0, 4, 4], [0, 0, 0, 4]]
    np.testing.assert_allclose(found.timeline.compute, np.array(expected) * pair)
    assert not found.timeline.travelling[-1].any()
    found = striped_ring(one)
    assert found.timeline is not None
    expected = [[3, 3, 3, 3], [1, 3, 3, 3], [1, 1, 3, 3], [1, 1, 1, 3]]
    np.testing.assert_allclose(found.timeline.compute, np.array(expected) * pair)
    found = ulysses(one)
    assert found.timeline is not None
    np.testing.assert_allclose(found.timeline.compute, np.array([[0] * 4, [9] * 4, [0] * 4]) * pair)
    found = all_gather(one)
    assert found.timeline is not None
    np.testing.assert_allclose(found.timeline.compute[:2], np.array([[3] * 4, [0, 4, 8, 12]]) * pair)


def test_striped_rings_balance_causal_work() -> None:
    one = case(causal(512), 8, topology="8xh100", seconds_per_pair=1e-6)
    slow, fast = ring(one), striped_ring(one)
    assert slow.timeline is not None
    assert fast.timeline is not None
    assert fast.timeline.seconds < 0.6 * slow.timeline.seconds


def test_all_gather_balances_causal_work() -> None:
    found = all_gather(case(causal(512), 8, topology="8xh100", seconds_per_pair=1e-6))
    assert found.note == "at once, cyclic"
    assert found.timeline is not None
    assert found.timeline.compute.sum(0).std() < 0.02 * found.timeline.compute.sum(0).mean()


def test_usp_is_the_best_of_its_shapes() -> None:
    for mask in (causal(512), window(512, 16)):
        for ranks in (8, 16, 64):
            one = case(mask, ranks)
            best = usp(one)
            assert best.timeline is not None
            for way in (ring, striped_ring, ulysses):
                found = way(one)
                assert found.timeline is None or best.timeline.seconds <= found.timeline.seconds
            assert best.note.startswith("u = ")


def test_hierarchical_all_gather_relieves_the_network() -> None:
    inputs = Inputs(1, 8, 8, 128, 128, "bf16")
    one = case(np.ones((4096, 4096), bool), 64, inputs, seconds_per_pair=0.0)
    one = replace(one, length=1 << 20)
    found = all_gather(one)
    assert found.note.startswith("between nodes, then within")
    expected = kappa(inputs) * (1 << 20) * 63 // 64
    assert found.received.tolist() == [expected] * 64
    assert found.timeline is not None
    apart = all_gather(replace(one, devices=np.arange(64)[::-1]))  # the same nodes, ranks in the reverse order
    assert apart.timeline is not None
    assert apart.timeline.seconds == pytest.approx(found.timeline.seconds)
    few = all_gather(case(causal(256), 8))
    assert few.note.startswith("at once")


def total(found: Baseline) -> int:
    return found.total_bytes


def test_backward_sends_sums_in_the_accumulation_dtype() -> None:
    ranks, length = 8, 256
    one = case(causal(length), ranks, topology="8xh100", direction="backward")
    keys, sums = kappa(GROUPED), 2 * kappa(GROUPED)  # bf16 and float32
    assert total(ring(one)) == keys * length * (ranks - 1) + sums * length * ranks
    assert total(all_gather(one)) == sums * length * (ranks - 1)
    swapped = length * (ranks - 1) / ranks * (both_ways(GROUPED) + keys * ranks / GROUPED.kv_heads)
    assert total(ulysses(one)) == swapped
    nodes = case(causal(length), 16, direction="backward")
    assert total(all_gather(nodes)) == sums * length * 15


def test_a_single_rank_only_computes() -> None:
    for direction in ("forward", "backward"):
        for found in baselines(case(causal(64), 1, direction=direction)):
            assert found.total_bytes == 0
            assert found.timeline is not None
            assert not found.timeline.travelling.any()


def test_pairs_must_have_the_shape_of_ranks() -> None:
    one = case(causal(64), 4)
    with pytest.raises(TopologyError, match=r"\(4, 4\) and \(2, 2\)"):
        replace(one, cyclic=one.cyclic[:2, :2])


def test_cases_are_checked() -> None:
    one = case(causal(64), 4)
    with pytest.raises(TopologyError, match="4 ranks on devices"):
        replace(one, devices=np.arange(3))
    with pytest.raises(TopologyError, match="its 64 devices"):
        replace(one, devices=np.array([0, 1, 2, 64]))
    with pytest.raises(ConfigError, match="direction='sideways'"):
        replace(one, direction="sideways")


@pytest.mark.parametrize("length", [1, 7, 64, 103])
@pytest.mark.parametrize("ranks", [1, 3, 8])
def test_blocks_cover_the_sequence(length: int, ranks: int) -> None:
    blocks = contiguous_blocks(length, ranks)
    assert (np.diff(blocks) >= 0).all()
    sizes = np.bincount(blocks, minlength=ranks)
    assert sizes.max() - sizes.min() <= 1
    assert cyclic_blocks(length, ranks).tolist() == [t % ranks for t in range(length)]
