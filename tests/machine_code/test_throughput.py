"""The throughput model: its bounds, and the effect of each rule."""

from __future__ import annotations

from dataclasses import replace

import pytest

from attncc.errors import ConfigError
from attncc.machine_code.instructions import Mix, OpKind
from attncc.machine_code.resources import Resources
from attncc.machine_code.throughput import LATENCY, PORT, TURN, TileDemand, combined, predict
from attncc.targets import gpu

TILE = 4.0 * 128 * 64 * 64
H100 = gpu("h100")
#: The full-run loop of the yardstick on sm_90, D = 64, in round figures.
LOOP = Mix(
    {OpKind.TENSOR: 16, OpKind.SPECIAL: 68, OpKind.FP32: 208, OpKind.MINMAX: 72, OpKind.CONVERT: 32, OpKind.SYNC: 12},
    tensor_flops=TILE / 4,
    shared_bytes=0,
)
TWO_BLOCKS = Resources(registers=250, stack=0, spills=0, shared=49152, warps=4)


def test_demand_equals_work_over_published_rates() -> None:
    found = predict(LOOP, TWO_BLOCKS, H100, TileDemand(TILE))
    assert found.demand["tensor"] == pytest.approx(TILE / 4096, rel=1e-3)
    assert found.demand["special"] == 68 * 4 * 32 / 16
    assert found.demand["fp32"] == 208 * 4 * 32 / 128
    assert found.demand["integer"] == (72 + 32) * 4 * 32 / 64
    assert found.demand["issue"] == LOOP.total
    assert found.bound == "special"


def test_more_blocks_never_beat_the_busiest_unit() -> None:
    cycles = [
        predict(LOOP, replace(TWO_BLOCKS, registers=registers, shared=1024), H100, TileDemand(TILE)).cycles
        for registers in (250, 120, 56, 32)
    ]
    assert cycles == sorted(cycles, reverse=True)
    assert cycles[-1] > 544
    alone = predict(LOOP, replace(TWO_BLOCKS, shared=200_000), H100, TileDemand(TILE))
    assert alone.blocks == 1
    parts = (alone.demand[part] for part in ("tensor", "special", "fp32", "integer", "shuffle"))
    assert alone.cycles == pytest.approx(sum(parts) + TURN)


def test_warps_of_a_block_hide_half_of_the_other_units() -> None:
    pair = replace(TWO_BLOCKS, registers=128, shared=200_000, warps=8)
    half = Mix({kind: count // 2 for kind, count in LOOP.counts.items()}, TILE / 8, 0)
    found = predict(half, pair, H100, TileDemand(TILE))
    others = sum(found.demand[part] for part in ("tensor", "fp32", "integer", "shuffle"))
    assert found.cycles == pytest.approx(found.demand["special"] + others / 2 + TURN)


def test_loads_stall_a_loop_unless_issued_ahead() -> None:
    """Two stages load one pass ahead, three stages two."""
    alone = replace(TWO_BLOCKS, shared=200_000)
    whole = predict(LOOP, alone, H100, TileDemand(TILE)).cycles
    loads = replace(LOOP, loaded_bytes=4096)
    latency = LATENCY + 4096 * 4 / PORT
    assert predict(loads, alone, H100, TileDemand(TILE)).cycles == pytest.approx(whole + latency)
    assert predict(replace(loads, lead=1.0), alone, H100, TileDemand(TILE)).cycles == pytest.approx(whole, rel=1e-3)
    part = predict(replace(loads, lead=0.25), alone, H100, TileDemand(TILE)).cycles
    assert part == pytest.approx(whole + latency - 0.25 * part, rel=1e-3)


def test_memory_bandwidth_bounds_the_rate() -> None:
    starved = predict(LOOP, TWO_BLOCKS, H100, TileDemand(TILE, bytes=1e6))
    assert starved.bound == "memory"
    assert starved.flops == pytest.approx(TILE / 1e6 * H100.bandwidth)


def test_hidden_shapes_come_from_the_work() -> None:
    hidden = predict(replace(LOOP, tensor_flops=None), TWO_BLOCKS, H100, TileDemand(TILE))
    assert hidden.demand["tensor"] == pytest.approx(predict(LOOP, TWO_BLOCKS, H100, TileDemand(TILE)).demand["tensor"])


def test_predictions_list_what_they_omit() -> None:
    assert any("latency" in line for line in predict(LOOP, TWO_BLOCKS, H100, TileDemand(TILE)).leaves_out)


def test_rates_of_several_loops_combine_by_time() -> None:
    found = predict(LOOP, TWO_BLOCKS, H100, TileDemand(TILE))
    assert combined([(3, TILE, found), (5, TILE, found)]) == pytest.approx(found.flops)
    assert combined([(1, TILE, found), (1, TILE / 2, replace(found, flops=found.flops / 2))]) == pytest.approx(
        0.75 * found.flops
    )


def test_kernels_beyond_the_limits_are_refused() -> None:
    with pytest.raises(ConfigError, match="shared memory"):
        predict(LOOP, replace(TWO_BLOCKS, shared=300_000), H100, TileDemand(TILE))
