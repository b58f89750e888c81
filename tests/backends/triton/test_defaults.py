"""Default blocks: a table for every architecture, and the right one for each GPU."""

from __future__ import annotations

from dataclasses import asdict

import pytest

import attncc
import attncc.targets
from attncc.backends.inputs import Inputs
from attncc.backends.triton import BACKEND, aot, defaults
from attncc.backends.triton.config import KernelConfig
from attncc.machine_code.compiler import compile_all
from attncc.targets import gpu


@pytest.mark.parametrize("arch", [*defaults.architectures(), defaults.ANY])
@pytest.mark.parametrize("head_dim", [1, 64, 65, 128, 129, 256, 257, 576])
@pytest.mark.parametrize("itemsize", [2, 4])
def test_each_entry_is_a_valid_configuration(arch: str, head_dim: int, itemsize: int) -> None:
    if head_dim > defaults.largest(arch, itemsize):
        pytest.skip("its kernels would not fit")
    found = KernelConfig.default(arch, head_dim, itemsize)
    values = asdict(found)
    kernels = {name: values.pop(name) for name in ("forward", "query_gradient", "key_gradient")}
    values |= {f"{kernel}.{key}": value for kernel, blocks in kernels.items() for key, value in blocks.items()}
    assert found.changed(values) == found


def test_every_target_has_a_table() -> None:
    targets = [found.gpu for found in map(attncc.targets.target, attncc.targets.names()) if found.gpu]
    assert defaults.ANY not in {defaults.table_of(found.arch) for found in targets}


@pytest.mark.parametrize(
    ("arch", "table"),
    [
        ("sm_90", "sm_90"),
        ("sm_86", "sm_89"),
        ("sm_103", "sm_100"),
        ("sm_120", "sm_89"),
        ("sm_150", "sm_100"),
        ("sm_75", "any"),
        ("gfx942:sramecc+:xnack-", "gfx942"),
        ("gfx950", "gfx942"),
        ("gfx908", "any"),
        ("gfx1100", "any"),
        ("gfx1201", "gfx1200"),
        ("any", "any"),
    ],
)
def test_architectures_take_their_own_table_or_the_nearest(arch: str, table: str) -> None:
    """The table of a similar architecture, or of the nearest older one."""
    assert defaults.table_of(arch) == table


@pytest.mark.parametrize(("target", "head_dim", "kernel"), [("sm_80", 64, "forward"), ("sm_90", 128, "key_gradient")])
def test_gathering_kernel_takes_no_stack(target: str, head_dim: int, kernel: str) -> None:
    """bench/test_machine_code.py checks all kernels of six patterns on every target."""
    plan = attncc.plan(attncc.load("strided", l=128), 4096, tile=BACKEND.tile, target=target)
    lowered = aot.lower(plan, gpu(target), Inputs.given(1, 1, None, head_dim, None, "bf16"))
    listed = aot.variants(lowered, "bf16")
    chosen = [each.source for each in listed if each.spec.kernel == kernel and each.spec.gather_rows]
    (found,) = compile_all(chosen, gpu(target), workers=1)
    assert (found.resources.stack, found.resources.spills) == (0, 0)
    assert not found.resources.excess(gpu(target))
