"""amdgcn text: kinds, labels, and the work of instructions."""

from __future__ import annotations

import pytest

from attncc.machine_code.amdgcn import parse
from attncc.machine_code.instructions import Instruction, OpKind


def one(text: str) -> Instruction:
    (found,) = parse(f"\t{text}\n")
    return found


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("v_mfma_f32_32x32x8_f16 v[0:15], v[16:17], v[18:19], v[0:15]", OpKind.TENSOR),
        ("v_exp_f32_e32 v1, v2", OpKind.SPECIAL),
        ("v_pk_fma_f32 v[0:1], v[2:3], v[4:5], v[6:7]", OpKind.FP32),
        ("v_max3_f32 v0, v1, v2, v3", OpKind.MINMAX),
        ("v_cmp_le_i32_e32 vcc, v1, v2", OpKind.COMPARE),
        ("v_cndmask_b32_e32 v1, v2, v3, vcc", OpKind.SELECT),
        ("v_cvt_f16_f32_e32 v1, v2", OpKind.CONVERT),
        ("v_add_co_u32_e32 v1, vcc, v2, v3", OpKind.INTEGER),
        ("ds_read2st64_b64 v[0:3], v4 offset1:1", OpKind.SHARED_LOAD),
        ("ds_write_b128 v4, v[0:3]", OpKind.SHARED_STORE),
        ("ds_bpermute_b32 v1, v2, v3", OpKind.SHUFFLE),
        ("global_load_dwordx4 v[0:3], v[4:5], off", OpKind.GLOBAL_LOAD),
        ("scratch_store_dword off, v1, s0", OpKind.SPILL),
        ("s_waitcnt lgkmcnt(0)", OpKind.SYNC),
        ("s_add_i32 s0, s1, s2", OpKind.UNIFORM),
    ],
)
def test_instructions_have_the_right_kind(text: str, kind: OpKind) -> None:
    assert one(text).kind is kind


def test_instructions_have_the_right_flops_and_bytes() -> None:
    assert one("v_mfma_f32_32x32x8_f16 v[0:15], v[16:17], v[18:19], v[0:15]").flops == 2 * 32 * 32 * 8
    assert one("v_mfma_f32_4x4x4_16b_f16 v[0:3], v[4:5], v[6:7], v[0:3]").flops == 2 * 4 * 4 * 4 * 16
    assert one("ds_read2_b64 v[0:3], v4 offset1:1").shared_bytes == 64 * 16
    assert one("ds_write_b32 v4, v0").shared_bytes == 64 * 4


def test_jumps_resolve_labels() -> None:
    found = parse("\ts_nop 0\n.LBB0_1:    ; a loop\n\tv_exp_f32_e32 v1, v2\n\ts_cbranch_scc1 .LBB0_1\n\ts_endpgm\n")
    assert [(i.address, i.target, i.goes_on) for i in found] == [
        (0, None, True),
        (1, None, True),
        (2, 1, True),
        (3, None, False),
    ]
