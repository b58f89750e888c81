"""Targets: consistent facts, and lookup by name, architecture or device."""

from __future__ import annotations

import math

import pytest

import attncc
from attncc.errors import ConfigError
from attncc.targets import for_device, gpu, names, target

SHIPPED = {"a100", "b200", "b300", "cpu", "h100", "h200", "mi300x", "mi355x", "rtx4090", "rtx5090"}
GPUS = tuple(name for name in names() if target(name).gpu)


def test_names_list_every_target() -> None:
    assert set(names()) >= SHIPPED
    assert list(names()) == sorted(names())


@pytest.mark.parametrize("name", GPUS)
def test_peaks_follow_from_clocks_and_units(name: str) -> None:
    """Matrix units compute a power of two FLOP a clock, and lanes two each, up to differences between data sheets."""
    found = gpu(name)
    rate = found.tensor_flops_per_clock("fp16")
    nearest_power = 2.0 ** round(math.log2(rate))
    assert rate == pytest.approx(nearest_power, rel=0.005)
    assert found.tensor["fp16"] == found.tensor["bf16"]
    tf32 = found.tensor["fp32"] if found.arch == "gfx950" else found.tensor["fp16"] / 2
    assert found.tensor["tf32"] == pytest.approx(tf32, rel=1e-3)
    lanes = 4 * found.lanes.fp32 if found.backend == "hip" else 2 * found.lanes.fp32
    assert found.tensor_flops_per_clock("fp32") == pytest.approx(lanes, rel=0.1)


@pytest.mark.parametrize("name", GPUS)
def test_limits_are_consistent(name: str) -> None:
    found = gpu(name)
    assert found.shared_per_block + found.shared_reserved == found.shared
    assert 0 < found.sustained <= 1
    assert found.registers % found.register_unit == 0
    assert found.warps * found.register_unit <= found.registers


@pytest.mark.parametrize("name", names())
def test_every_target_has_plans(name: str) -> None:
    assert attncc.plan(attncc.load("strided", l=64), 1024, target=name).target == name


def test_architectures_name_their_target() -> None:
    assert target("sm_90").name == "h100"
    assert target("gfx942").name == "mi300x"
    assert gpu("sm_100").triton_arch == 100
    assert gpu("mi300x").triton_arch == "gfx942"


@pytest.mark.parametrize(
    ("device", "arch", "name"),
    [
        ("NVIDIA H200", "sm_90", "h200"),
        ("NVIDIA H100 80GB HBM3", "sm_90", "h100"),
        ("NVIDIA A100-SXM4-40GB", "sm_80", "a100"),
        ("NVIDIA RTX A6000", "sm_86", "rtx4090"),
        ("NVIDIA B200", "sm_100", "b200"),
        ("NVIDIA B300", "sm_103", "b300"),
        ("NVIDIA GeForce RTX 5090", "sm_120", "rtx5090"),
        ("NVIDIA GeForce RTX 5080", "sm_120", "rtx5090"),
        ("NVIDIA GB10", "sm_121", "rtx5090"),
        ("Tesla T4", "sm_75", "a100"),
        ("AMD Instinct MI325X", "gfx942:sramecc+:xnack-", "mi300x"),
        ("AMD Instinct MI250X", "gfx90a:sramecc+:xnack-", "mi300x"),
        ("AMD Instinct MI355X", "gfx950:sramecc+:xnack-", "mi355x"),
        ("AMD Radeon RX 9070", "gfx1201", "mi355x"),
    ],
)
def test_devices_map_to_the_nearest_target(device: str, arch: str, name: str) -> None:
    assert for_device(device, arch).name == name


def test_unknown_targets_are_refused() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'h100'"):
        target("h10")
    with pytest.raises(ConfigError, match="not a GPU"):
        gpu("cpu")
    with pytest.raises(ConfigError, match="No target is known"):
        for_device("Intel Arc B580", "bmg")
