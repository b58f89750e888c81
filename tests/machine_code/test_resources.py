"""Resources: occupancy by each limit, and what doesn't fit."""

from __future__ import annotations

import pytest

from attncc.errors import ConfigError
from attncc.machine_code.resources import Resources
from attncc.targets import gpu


def taken(registers: int = 32, shared: int = 0, warps: int = 4) -> Resources:
    return Resources(registers, stack=0, spills=0, shared=shared, warps=warps)


@pytest.mark.parametrize(
    ("resources", "target", "blocks"),
    [
        (taken(), "a100", 16),  # 64 warps
        (taken(registers=250), "a100", 2),  # 256 registers a thread, as they come in units of 8
        (taken(registers=168), "a100", 3),
        (taken(shared=48 * 1024), "a100", 3),  # 164 KiB, of which a block's reserve takes 1
        (taken(warps=1), "a100", 32),
        (taken(warps=1), "rtx4090", 24),
        (taken(registers=200), "mi300x", 2),  # 512 registers a lane of each SIMD
        (taken(registers=168, shared=16384), "mi300x", 3),
    ],
)
def test_occupancy_respects_each_limit(resources: Resources, target: str, blocks: int) -> None:
    assert resources.occupancy(gpu(target)) == blocks
    assert resources.excess(gpu(target)) == ""


@pytest.mark.parametrize(
    ("resources", "target", "says"),
    [
        (taken(shared=166_913), "a100", "166,913 bytes of shared memory for a block, sm_80 has 166,912"),
        (taken(registers=256), "h100", "256 registers for a thread"),
        (taken(registers=255, warps=16), "h100", "16 warps of 255 registers"),
        (taken(shared=98_304), "mi300x", "gfx942 has 65,536"),
    ],
)
def test_resources_beyond_a_limit_are_named(resources: Resources, target: str, says: str) -> None:
    assert says in resources.excess(gpu(target))
    with pytest.raises(ConfigError, match="smaller blocks"):
        resources.require(gpu(target), "The kernel")
