"""Facts of a plan, the inputs and the target, and default configurations."""

from __future__ import annotations

import numpy as np
import pytest

import attncc
from attncc import targets
from attncc.backends.inputs import Inputs
from attncc.backends.torch.config import Config
from attncc.errors import ConfigError
from attncc.tune.facts import facts
from attncc.tune.tunables import backend_default, backend_tunables

INPUTS = Inputs(batch=2, heads=8, kv_heads=2, head_dim=80, value_dim=64, dtype="bf16")
CPU = targets.target("cpu")


def of(pattern: attncc.Pattern, q_len: int = 2048, **options: int) -> dict[str, object]:
    return facts(attncc.plan(pattern, q_len, tile=(64, 64), **options), INPUTS, CPU)


def test_facts_include_sizes() -> None:
    found = of(attncc.load("causal"), 1000, kv_len=1500, q_offset=500)
    expected = {
        "q_len": 1000,
        "kv_len": 1500,
        "batch": 2,
        "heads": 8,
        "kv_heads": 2,
        "group": 4,
        "head_dim": 80,
        "value_dim": 64,
        "padded_head": 128,
        "padded_value": 64,
        "itemsize": 2,
        "target.name": "cpu",
    }
    assert {name: found[name] for name in expected} == expected


def test_causal_plans_have_one_exact_alternative() -> None:
    found = of(attncc.load("causal"))
    assert found["ways"] == found["near_ways"] == ("cheapest", "dense")
    assert found["exact_ways"] == ("cheapest",)
    assert (found["residual_ways"], found["residual"]) == ((), False)
    assert (found["shortest_run"], found["longest_run"], found["loose_rows"]) == (2048, 2048, 0)
    assert found["widest_row"] == 2048


def test_windows_have_loose_rows() -> None:
    found = of(attncc.load("sliding_window", window=256))
    assert found["loose_rows"] == 2048 - 256
    assert found["widest_row"] == 256


def test_alternatives_name_the_cheapest_once() -> None:
    plan = attncc.plan(attncc.load("strided", l=128), 16384, tile=(64, 64))
    [group] = plan.groups
    assert [way.name for way in group.alternatives] == ["split", "fused", "dense"]
    found = facts(plan, INPUTS, CPU)
    assert found["ways"] == ("cheapest", "fused", "dense")
    assert found["near_ways"] == ("cheapest",)
    assert found["exact_ways"] == ("cheapest",)
    assert found["residual_ways"] == ("fused",)
    assert found["residual"] is True


@attncc.pattern
def scattered(i: attncc.Index, j: attncc.Index, *, chosen: attncc.Table) -> attncc.Condition:
    """Chosen pairs of blocks."""
    return chosen[i // 64, j // 64] == 1


def test_tables_leave_a_residual() -> None:
    chosen = np.random.default_rng(0).integers(0, 2, (16, 16))
    found = of(scattered(chosen=chosen), 1024)
    assert found["residual_ways"] == ("cheapest",)
    assert (found["exact_ways"], found["shortest_run"], found["widest_row"]) == ((), 0, 0)


def test_alternatives_of_any_group_are_listed() -> None:
    @attncc.pattern
    def by_head(i: attncc.Index, j: attncc.Index, h: attncc.Index) -> attncc.Condition:
        return (j <= i) & ((h == 0) | (i - j < 64) | ((i - j) % 64 == 0))

    found = of(by_head(), 1024, heads=2)
    assert "fused" in found["ways"]


def test_empty_lengths_have_one_alternative() -> None:
    found = of(attncc.load("causal"), 0)
    assert (found["ways"], found["exact_ways"], found["longest_run"]) == (("cheapest",), (), 0)


@pytest.mark.parametrize("name", targets.names())
def test_facts_have_known_names(name: str) -> None:
    plan = attncc.plan(attncc.load("causal"), 64)
    found = facts(plan, INPUTS, targets.target(name))
    assert set(found) <= set(backend_tunables("torch").rule_names("forward"))
    assert all(isinstance(value, int | float | str | tuple) for value in found.values())
    gpu = targets.target(name).gpu
    assert found.get("target.shared_per_block") == (gpu and gpu.shared_per_block)


def test_defaults_name_every_parameter() -> None:
    assert backend_default("torch", "backward", INPUTS, CPU) == {
        "backward.plan": "cheapest",
        "backward.tile_m": 64,
        "backward.tile_n": 64,
        "backward.query_tile": Config().backward.query_tile,
        "backward.key_multiple": 16,
        "backward.segment": 16,
        "backward.core": 1024,
        "backward.chunk": 1 << 20,
    }
    found = backend_default("triton", "forward", INPUTS, targets.target("h100"))
    assert found == {
        "forward.plan": "cheapest",
        "forward.tile_m": 128,
        "forward.tile_n": 64,
        "forward.block_m": 128,
        "forward.block_n": 64,
        "forward.num_warps": 8,
        "forward.num_stages": 3,
        "forward.item_tiles": 0,
        "precision": "ieee",
        "atomic": False,
    }


@pytest.mark.parametrize(
    "inputs",
    [Inputs(1, 1, 1, 64, 64, "fp64"), Inputs(1, 1, 1, 577, 64, "bf16"), Inputs(1, 1, 1, 64, 577, "bf16")],
)
def test_unsupported_inputs_have_no_defaults(inputs: Inputs) -> None:
    with pytest.raises(ConfigError, match="with head size"):
        backend_default("triton", "forward", inputs, targets.target("h100"))
