"""Dense attention on one device: its bytes and FLOPs."""

from __future__ import annotations

import pytest
from dense import flash_seconds, vanilla_seconds

from attncc import targets
from attncc.backends.inputs import Inputs

INPUTS = Inputs(1, 8, 8, 64, 64, "fp16")
LENGTH = 131072


def test_vanilla_moves_its_scores_four_times() -> None:
    """On an RTX 4090 memory traffic outweighs the arithmetic of all three kernels."""
    target = targets.target("rtx4090")
    moved = 4 * 8 * LENGTH**2 * 2 / target.bandwidth
    assert vanilla_seconds(INPUTS, LENGTH, target) == pytest.approx(moved, rel=1e-2)
    assert vanilla_seconds(INPUTS, LENGTH, target) > moved


def test_vanilla_is_bound_by_arithmetic_where_rows_are_wide() -> None:
    wide = Inputs(1, 1, 1, 4096, 4096, "fp16")
    target = targets.target("h100")
    assert target.gpu is not None
    arithmetic = 4 * 4096 * 65536**2 / (target.gpu.tensor["fp16"] * target.gpu.sustained)
    softmax = 2 * 65536**2 * 2 / target.bandwidth
    assert vanilla_seconds(wide, 65536, target) == pytest.approx(arithmetic + softmax, rel=1e-3)


def test_vanilla_is_slower_than_flash() -> None:
    for name in targets.names():
        target = targets.target(name)
        assert vanilla_seconds(INPUTS, LENGTH, target) > flash_seconds(INPUTS, LENGTH, target, causal=True)


def test_flash_takes_the_time_of_its_flops() -> None:
    target = targets.target("rtx4090")
    whole = flash_seconds(INPUTS, LENGTH, target, causal=False)
    assert whole == pytest.approx(4 * 64 * 8 * LENGTH**2 / target.flops, rel=1e-4)
    assert flash_seconds(INPUTS, LENGTH, target, causal=True) == pytest.approx(whole / 2, rel=1e-4)
