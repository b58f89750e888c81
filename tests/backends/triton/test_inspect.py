"""Inspection: stages as text, resources, mix and prediction of a kernel."""

from __future__ import annotations

import pytest

import attncc
from attncc.backends.inputs import Inputs
from attncc.backends.triton import BACKEND, aot
from attncc.backends.triton.inspect import Inspection
from attncc.errors import BackendError
from attncc.machine_code.compiler import compile_all
from attncc.targets import gpu

TARGET = "a100"
BLOCKS = {"forward.block_m": 32, "forward.block_n": 16, "forward.num_warps": 1}


@pytest.fixture(scope="module")
def found() -> Inspection:
    """The forward kernel of a window, in small tiles, compiled."""
    plan = attncc.plan(attncc.load("sliding_window", window=64), 1024, tile=BACKEND.tile, target=TARGET)
    lowered = aot.lower(plan, gpu(TARGET), Inputs.given(1, 1, None, 16, None, "fp16"), config=dict(BLOCKS))
    variant, *_ = aot.variants(lowered, "fp16", backward=False)
    compile_all([variant.source], gpu(TARGET), workers=1)  # into the cache, from a process that doesn't interpret
    return Inspection(variant, "fp16", gpu(TARGET))


@pytest.mark.parametrize(
    ("stage", "says"),
    [
        ("triton", "def forward("),
        ("ttir", "tt.dot"),
        ("ttgir", "#ttg"),
        ("llir", "define ptx_kernel void @forward"),
        ("ptx", ".target sm_80"),
        ("sass", "HMMA.16816.F32"),
    ],
)
def test_each_stage_is_shown_as_text(found: Inspection, stage: str, says: str) -> None:
    assert says in found.text(stage)


def test_a_stage_of_another_compiler_is_refused(found: Inspection) -> None:
    with pytest.raises(BackendError, match="no stage 'amdgcn' for sm_80"):
        found.text("amdgcn")


def test_instruction_mix_and_resources_are_reported(found: Inspection) -> None:
    mix = found.mix()
    assert mix["full runs"]["tensor"] == mix["partial runs"]["tensor"] == 8
    assert "select" not in mix["full runs"]
    assert mix["partial runs"]["select"] >= 16
    taken = found.resources()
    assert taken["blocks"] > 0
    assert taken["beyond the limits"] == ""


def test_full_tiles_reach_more_flops_than_partial_ones(found: Inspection) -> None:
    predicted = found.throughput()
    assert predicted["full runs"].flops > predicted["partial runs"].flops > 0
    assert predicted["full runs"].demand["tensor"] == pytest.approx(4 * 32 * 16 * 16 / 2048, rel=1e-2)


def test_the_title_names_the_kernel_and_its_predicate(found: Inspection) -> None:
    assert found.title == "forward: i − 63 ≤ j ≤ i"
