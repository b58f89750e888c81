"""Loops in recorded listings of the yardstick (head size 16) and in small listings."""

from __future__ import annotations

from pathlib import Path

import pytest

from attncc.machine_code import amdgcn, sass
from attncc.machine_code.instructions import Instruction, OpKind
from attncc.machine_code.loops import full_and_partial, main_loops

RECORDED = Path(__file__).with_name("recorded")


def recorded(name: str) -> list[Instruction]:
    text = (RECORDED / name).read_text(encoding="utf-8")
    return (amdgcn if name.endswith(".s") else sass).parse(text)


def test_loops_over_full_and_partial_tiles_are_told_apart() -> None:
    """Tiles of 32 x 16 a warp have 16 scores a thread: each is exponentiated once, and selected once under the mask."""
    full, partial = full_and_partial(main_loops(recorded("sm_80.sass")))
    assert full is not None
    assert partial is not None
    assert full.start < partial.start
    for loop in (full, partial):
        assert loop.mix.count(OpKind.TENSOR) == 8
        assert loop.mix.tensor_flops == 4 * 32 * 16 * 16
        assert loop.mix.count(OpKind.SPECIAL) == 16 + 4
    assert full.mix.count(OpKind.SELECT) == 0
    assert partial.mix.count(OpKind.SELECT) >= 16


@pytest.mark.parametrize(("name", "tile", "warps"), [("sm_90.sass", 64 * 16, 4), ("gfx942.s", 32 * 32, 1)])
def test_a_single_unmasked_loop_is_over_full_tiles(name: str, tile: int, warps: int) -> None:
    full, partial = full_and_partial(main_loops(recorded(name)))
    assert partial is None
    assert full is not None
    assert full.mix.tensor_flops is not None
    assert full.mix.tensor_flops * warps == 4 * tile * 16
    assert full.mix.total == sum(full.mix.counts.values()) == len(full.instructions)


def flow(*lines: str) -> list[Instruction]:
    return sass.parse("\n".join(f" /*{16 * number:04x}*/ {line} ;" for number, line in enumerate(lines)))


def test_only_innermost_loops_count() -> None:
    nested = flow(
        "MOV R1, R2",
        "MOV R3, R4",  # 0x10: over runs
        "HMMA.16816.F32 R4, R8, R10, R4",  # 0x20: over tiles
        "@P0 BRA 0x20",
        "@P1 BRA 0x10",
        "EXIT",
    )
    (loop,) = main_loops(nested)
    assert (loop.start, loop.mix.total) == (0x20, 2)


def test_waits_outside_a_loop_belong_to_it() -> None:
    """Blackwell's code spins on barriers outside the loop and jumps back into it."""
    spinning = flow(
        "SYNCS.PHASECHK.TRANS64.TRYWAIT P1, [UR33], R6",  # 0x00: the loop
        "@!P1 BRA 0x60",
        "UTCHMMA gdesc[UR4], gdesc[UR6], tmem[UR8]",  # 0x20
        "MUFU.EX2 R1, R1",
        "@P0 BRA 0x0",
        "EXIT",
        "SYNCS.PHASECHK.TRANS64.TRYWAIT P1, [UR33], R6",  # 0x60
        "@!P1 BRA 0x60",
        "BRA 0x20",
    )
    (loop,) = main_loops(spinning)
    assert loop.start == 0
    assert loop.mix.total == 8
    assert loop.mix.tensor_flops is None


def test_loops_may_end_in_a_call() -> None:
    leaving = flow("HMMA.16816.F32 R4, R8, R10, R4", "@!P0 CALL.REL.NOINC 0x30", "BRA 0x0", "EXIT")
    (loop,) = main_loops(leaving)
    assert loop.mix.total == 3


def test_without_matrix_products_exponentials_mark_the_loop() -> None:
    merging = flow("FADD R1, R1, R2", "MUFU.EX2 R3, R3", "@P0 BRA 0x0", "EXIT")
    assert [loop.mix.total for loop in main_loops(merging)] == [3]
    assert main_loops(flow("FADD R1, R1, R2", "@P0 BRA 0x0", "EXIT")) == []
    assert main_loops([]) == []


def test_a_single_masked_loop_is_over_partial_tiles() -> None:
    masked = flow(
        "HMMA.16816.F32 R4, R8, R10, R4",
        "ISETP.GE.AND P1, PT, R5, R6, PT",
        "FSEL R1, R1, -INF, P1",
        "MUFU.EX2 R3, R3",
        "@P0 BRA 0x0",
        "EXIT",
    )
    full, partial = full_and_partial(main_loops(masked))
    assert full is None
    assert partial is not None
