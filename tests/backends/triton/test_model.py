"""Predicted times: what lengthens them, their agreement with known figures, and limits."""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

import attncc
from attncc.backends.inputs import Inputs
from attncc.backends.reference import BACKEND as REFERENCE
from attncc.backends.triton import BACKEND, aot, demand, model
from attncc.backends.triton.lowered_plan import LoweredPlan
from attncc.backends.triton.model import makespan
from attncc.errors import BackendError, ConfigError
from attncc.machine_code.compiled import Compiled
from attncc.machine_code.compiler import compile_all
from attncc.machine_code.source import Source
from attncc.targets import gpu, target

H100 = gpu("h100")
CAUSAL, WINDOW = attncc.load("causal"), attncc.load("sliding_window", window=256)
INPUTS = Inputs(batch=1, heads=8, kv_heads=8, head_dim=64, value_dim=64, dtype="bf16")


def lower(
    pattern: attncc.Pattern = CAUSAL, length: int = 4096, config: Mapping[str, object] | None = None, **sizes: int
) -> LoweredPlan:
    plan = attncc.plan(pattern, length, tile=BACKEND.tile, target="h100")
    return aot.lower(
        plan, H100, replace(INPUTS, **{"kv_heads": sizes.get("heads", INPUTS.heads), **sizes}), config=config
    )


def roofline(pattern: attncc.Pattern = CAUSAL, length: int = 4096, direction: str = "forward", **config) -> float:
    named = {name.replace("__", "."): value for name, value in config.items()}
    return model.roofline(lower(pattern, length, named), direction, H100, "bf16")


class TestLaunches:
    def test_every_tile_of_every_head_is_visited(self) -> None:
        blocks = {"forward.block_m": BACKEND.tile[0], "forward.block_n": BACKEND.tile[1]}
        lowered = lower(WINDOW, heads=8, batch=3, config=blocks)
        (launch,) = lowered.launches("forward")
        full, partial = demand.visited(launch)
        tiles = lowered.plan.all_passes()[0].tiles
        assert (full.sum(), partial.sum()) == (tiles.num_full, tiles.num_partial)
        assert (launch.grid_heads, launch.programs) == (24, 24 * launch.count)
        assert demand.distinct_read(launch) == tiles.num_key_tiles * demand.read(launch)

    def test_tiles_of_keys_are_visited_for_each_query_head(self) -> None:
        def visited(lowered: LoweredPlan) -> float:
            launches = [each for each in lowered.key_gradient.launches if each.spec.visits_tiles]
            return sum(float(tiles.sum()) * each.grid_heads for each in launches for tiles in demand.visited(each))

        assert visited(lower(kv_heads=2)) == visited(lower()) > 0

    @pytest.mark.parametrize(
        ("atomic", "names"), [(False, ["delta", "query_gradient", "key_gradient"]), (True, ["delta", "key_gradient"])]
    )
    def test_backward_launches_the_kernels_in_order(self, atomic: bool, names: list[str]) -> None:
        lowered = lower(config={"atomic": atomic})
        assert [launch.spec.kernel for launch in lowered.launches("backward")] == names
        assert [launch.spec.visits_tiles for launch in lowered.launches("backward")] == [n != "delta" for n in names]

    def test_an_unknown_direction_is_refused(self) -> None:
        with pytest.raises(ConfigError, match="direction='both'"):
            list(lower().launches("both"))


class TestMakespan:
    @pytest.mark.parametrize("spread", [0.0, 0.5, 1.0])
    @pytest.mark.parametrize(("count", "heads", "slots"), [(100, 1, 264), (700, 8, 264), (5000, 32, 132), (7, 100, 9)])
    def test_makespan_agrees_with_an_exact_schedule(self, spread: float, count: int, heads: int, slots: int) -> None:
        seconds = np.sort(np.exp(np.random.default_rng(0).normal(0, spread, count)))[::-1]
        free = [0.0] * slots
        for each in np.tile(seconds, heads):
            heapq.heapreplace(free, free[0] + each)
        assert makespan(seconds, heads, slots) == pytest.approx(max(free), rel=0.05)

    def test_one_round_takes_as_long_as_its_longest_item(self) -> None:
        assert makespan(np.array([3.0, 2.0, 1.0]), 2, 6) == 3.0
        assert makespan(np.array([2.0]), 7, 3) == pytest.approx(6.0)
        assert makespan(np.zeros(0), 8, 4) == 0.0


class TestRoofline:
    def test_more_work_takes_longer(self) -> None:
        assert roofline(WINDOW) < roofline(CAUSAL) < roofline(CAUSAL, direction="backward")
        assert 3 < roofline(length=16384) / roofline(length=8192) < 4.2

    def test_roofline_comes_near_published_dense_attention(self) -> None:
        """FlashAttention-3, figure 5: 403 TFLOP/s forward, H = 32, N = 16,384; the model's bar is 25%."""
        lowered = lower(attncc.load("full"), 16384, heads=32)
        flops = 4 * 32 * 16384**2 * 64
        assert flops / model.roofline(lowered, "forward", H100, "bf16") == pytest.approx(403e12, rel=0.25)

    def test_long_items_take_longer_than_short_ones(self) -> None:
        def seconds(most: int) -> float:
            lowered = lower(length=8192, config={"forward.item_tiles": most}, heads=1)
            return model.roofline(lowered, "forward", H100, "bf16")

        assert seconds(32) < 0.8 * seconds(1024)

    def test_blocks_that_spill_or_repeat_work_take_longer(self) -> None:
        assert roofline(forward__block_m=128, forward__block_n=128) > roofline()
        assert roofline(forward__block_m=32, forward__num_warps=8) > roofline(forward__block_m=32)

    def test_empty_patterns_take_almost_no_time(self) -> None:
        @attncc.pattern
        def nothing(i: attncc.Index, j: attncc.Index) -> attncc.Condition:
            return i + 1 < j - 4096

        assert roofline(nothing) < 20e-6


@pytest.fixture(scope="module")
def small() -> LoweredPlan:
    config = {"block_m": 32, "block_n": 32, "num_warps": 2, "num_stages": 1}
    return lower(WINDOW, 2048, {f"forward.{name}": value for name, value in config.items()})


@pytest.fixture(scope="module")
def compiled(small: LoweredPlan) -> dict[Source, Compiled]:
    listed = model.sources(small, "bf16", "forward")
    return dict(zip(listed, compile_all(listed, H100, workers=1), strict=True))


class TestModelled:
    def test_model_records_each_kernel(self, small: LoweredPlan, compiled: dict[Source, Compiled]) -> None:
        found = model.modelled(small, "forward", H100, "bf16", compiled)
        (kernel,) = found.kernels
        (taken,) = (each.resources for each in compiled.values())
        assert found.excess == ""
        assert (kernel.name, kernel.registers, kernel.warps) == ("forward", taken.registers, 2)
        assert kernel.blocks == taken.occupancy(H100) > 1
        assert kernel.seconds == found.seconds
        assert 0 < kernel.flops < H100.tensor["bf16"]
        assert found.seconds == pytest.approx(model.roofline(small, "forward", H100, "bf16"), rel=0.5)

    def test_spills_are_priced_and_named(self, small: LoweredPlan, compiled: dict[Source, Compiled]) -> None:
        ((source, kernel),) = compiled.items()
        found = model.modelled(small, "forward", H100, "bf16", {source: _with(kernel, stack=48, spills=7)})
        assert found.excess == "forward: 48 bytes of stack, 7 spills"
        assert found.seconds < math.inf

    def test_kernels_beyond_the_limits_take_infinite_time(
        self, small: LoweredPlan, compiled: dict[Source, Compiled]
    ) -> None:
        ((source, kernel),) = compiled.items()
        found = model.modelled(small, "forward", H100, "bf16", {source: _with(kernel, shared=300_000)})
        assert "300,000 bytes of shared memory" in found.excess
        assert found.seconds == math.inf

    def test_sources_are_listed_once(self) -> None:
        lowered = lower(attncc.load("strided", l=128))
        for direction in ("forward", "backward"):
            listed = model.sources(lowered, "bf16", direction)
            assert len(set(listed)) == len(listed) <= len(list(lowered.launches(direction)))


def _with(kernel: Compiled, **changes: int) -> Compiled:
    """Return a kernel with other resources."""
    found = replace(kernel)
    found.__dict__["resources"] = replace(kernel.resources, **changes)
    return found


class TestPredict:
    @pytest.mark.parametrize("direction", ["forward", "backward"])
    def test_predictions_scale_with_the_batch(self, direction: str) -> None:
        plan = attncc.plan(CAUSAL, 8192, tile=BACKEND.tile, target="h100")
        one, many = (
            BACKEND.predict(plan, replace(INPUTS, batch=batch, heads=16, kv_heads=4), direction, {}, target("h100"))
            for batch in (1, 4)
        )
        assert many == pytest.approx(4 * one, rel=0.2)

    def test_faster_gpus_are_predicted_faster(self) -> None:
        """With equal blocks: default blocks of some targets stall longer on loads."""
        plan = attncc.plan(CAUSAL, 8192, tile=BACKEND.tile, target="h100")
        blocks = {"forward.block_m": 64, "forward.block_n": 64, "forward.num_warps": 4, "forward.num_stages": 3}
        times = [BACKEND.predict(plan, INPUTS, "forward", blocks, target(name)) for name in ("b200", "h100", "a100")]
        assert times == sorted(times)

    def test_other_targets_names_and_dtypes_are_refused(self) -> None:
        plan = attncc.plan(CAUSAL, 1024)
        with pytest.raises(ConfigError, match="not a GPU"):
            BACKEND.predict(plan, INPUTS, "forward", {}, target("cpu"))
        with pytest.raises(ConfigError, match="block_x"):
            BACKEND.predict(plan, INPUTS, "forward", {"forward.block_x": 1}, target("h100"))
        with pytest.raises(BackendError, match="fp64"):
            BACKEND.predict(plan, replace(INPUTS, dtype="fp64"), "forward", {}, target("h100"))

    def test_the_reference_is_priced_as_dense_attention(self) -> None:
        plan = attncc.plan(WINDOW, 1024)
        forward, backward = (
            REFERENCE.predict(plan, INPUTS, direction, {}, target("cpu")) for direction in ("forward", "backward")
        )
        assert forward == 4 * 8 * 1024**2 * 64 / target("cpu").flops
        assert backward == pytest.approx(2.5 * forward)
        with pytest.raises(ConfigError, match="no configuration"):
            REFERENCE.predict(plan, INPUTS, "forward", {"tile": 1}, target("cpu"))
