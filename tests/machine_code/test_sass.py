"""SASS: kinds, jumps, and the work of instructions."""

from __future__ import annotations

import pytest

from attncc.machine_code.instructions import Instruction, OpKind, mix
from attncc.machine_code.sass import parse


def one(text: str) -> Instruction:
    (found,) = parse(f"        /*0080*/                   {text} ;      /* 0x0000000000640947 */")
    return found


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("HMMA.16816.F32 R4, R8, R10, R4", OpKind.TENSOR),
        ("@!P1 MUFU.EX2 R3, R3", OpKind.SPECIAL),
        ("FFMA R3, R3.reuse, R4, -R5", OpKind.FP32),
        ("FSEL R56, R56, -INF , !P1", OpKind.SELECT),
        ("ISETP.GE.AND P1, PT, R201.reuse, R186, PT", OpKind.COMPARE),
        ("UISETP.GT.AND UP0, UPT, UR34, 0x1, UPT", OpKind.UNIFORM),
        ("USEL UR4, UR5, UR6, UP0", OpKind.UNIFORM),
        ("FMNMX R5, R6, R7, !PT", OpKind.MINMAX),
        ("F2FP.PACK_AB R5, R6, R7", OpKind.CONVERT),
        ("LDGSTS.E.BYPASS.128 [R3], [R4.64]", OpKind.GLOBAL_LOAD),
        ("STL [R1+0x4], R16", OpKind.SPILL),
        ("BAR.SYNC.DEFER_BLOCKING 0x0", OpKind.SYNC),
        ("SHFL.BFLY PT, R3, R4, 0x2, 0x1f", OpKind.SHUFFLE),
        ("NEWOP R3", OpKind.OTHER),
    ],
)
def test_instructions_have_the_right_kind(text: str, kind: OpKind) -> None:
    assert one(text).kind is kind


@pytest.mark.parametrize(
    ("text", "target", "goes_on"),
    [
        ("@P0 BRA 0x220", 0x220, True),
        ("BRA 0x220", 0x220, False),
        ("BRA.U UP0, 0x1b0", 0x1B0, True),
        ("@!P0 CALL.REL.NOINC 0x3520", 0x3520, True),
        ("EXIT", None, False),
        ("@P0 EXIT", None, True),
        ("FADD R1, R2, 0x80", None, True),
    ],
)
def test_jumps_have_the_right_target(text: str, target: int | None, goes_on: bool) -> None:
    found = one(text)
    assert (found.target, found.goes_on) == (target, goes_on)


@pytest.mark.parametrize(
    ("text", "flops"),
    [
        ("HMMA.16816.F32.BF16 R4, R8, R10, R4", 2 * 16 * 8 * 16),
        ("HMMA.1688.F32.TF32 R4, R8, R10, R4", 2 * 16 * 8 * 8),
        ("HGMMA.64x128x16.F32 R24, gdesc[UR32], R24", 2 * 64 * 128 * 16 / 4),
        ("UTCHMMA gdesc[UR4], gdesc[UR6], tmem[UR8], tmem[UR10], idesc[UR11]", None),
    ],
)
def test_matrix_instructions_have_the_right_flops(text: str, flops: float | None) -> None:
    assert one(text).flops == flops


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("LDSM.16.M88.4 R4, [R8]", 512),
        ("LDSM.16.MT88.2 R4, [R8]", 256),
        ("LDS.128 R4, [R8]", 512),
        ("LDS R4, [R8]", 128),
        ("STS.U16 [R8], R4", 64),
        ("LDG.E.128 R4, [R8.64]", 0),
    ],
)
def test_memory_instructions_have_the_right_bytes(text: str, size: int) -> None:
    assert one(text).shared_bytes == size


def test_lines_without_instructions_are_skipped() -> None:
    assert parse("\tcode for sm_90a\n\t.target\tsm_90a\n\t\tFunction : dense\n   /* 0x000fe20000000800 */\n") == []


def test_loops_report_how_far_ahead_they_load() -> None:
    """The wait leaves two groups pending: a whole pass, and two sevenths of the code."""
    lines = ("DEPBAR.LE SB0, 0x2", "BAR.SYNC.DEFER_BLOCKING 0x0", *2 * ("LDGSTS.E.BYPASS.128 [R1], desc[UR4][R2.64]",))
    code = (*lines[:3], "LDGDEPBAR", lines[3], "LDGDEPBAR", "DEPBAR.LE SB4, 0x0")
    found = mix(parse("\n".join(f"/*{16 * at:04x}*/ {line} ;" for at, line in enumerate(code))))
    assert found.loaded_bytes == 2 * 16 * 32
    assert found.lead == pytest.approx(1 + 2 / 7)
