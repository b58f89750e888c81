"""Machine code of AMD's CDNA GPUs, from the assembly text that triton's compiler gives."""

from __future__ import annotations

import re

from attncc.machine_code.instructions import Instruction, Kind

_INSTRUCTION = re.compile(r"^\s+([a-z][a-z0-9_]*)\b\s*([^;]*)")
_LABEL = re.compile(r"^(\.?L?[\w$.]+):")
_WAVE_SIZE = 64

#: Patterns of opcodes in the order in which they are tried.
_KINDS = [
    (r"v_s?mfma_.*|v_mfma.*", Kind.TENSOR),
    (r"v_(exp|log|rcp|rsq|sqrt|sin|cos)_.*", Kind.SPECIAL),
    (r"v_(max3?|min3?|pk_max|pk_min|med3)_(num_)?f.*", Kind.MINMAX),
    (r"v_cmpx?_.*", Kind.COMPARE),
    (r"v_cndmask_.*", Kind.SELECT),
    (r"v_cvt_.*|v_pack_.*", Kind.CONVERT),
    (r"v_(pk_)?(add|sub|subrev|mul|fma|fmac|mac|mad|dot2c?|ldexp)_(legacy_)?f.*", Kind.FP32),
    (r"v_accvgpr_.*|v_mov_.*|v_swap_.*", Kind.MOVE),
    (r"ds_(b?permute|swizzle)_.*|v_readlane_.*|v_writelane_.*|v_readfirstlane_.*|v_permlane.*", Kind.SHUFFLE),
    (r"v_.*", Kind.INTEGER),
    (r"ds_read.*|ds_load.*", Kind.SHARED_LOAD),
    (r"ds_.*", Kind.SHARED_STORE),
    (r"scratch_.*", Kind.SPILL),
    (r"(global|flat|buffer)_(load|wbl2|inv).*|s_load_.*|s_buffer_load.*", Kind.GLOBAL_LOAD),
    (r"(global|flat|buffer)_.*", Kind.GLOBAL_STORE),
    (r"s_(barrier|waitcnt|nop|sleep|setprio|sched).*", Kind.SYNC),
    (r"s_(c?branch|endpgm|setpc|swappc).*", Kind.BRANCH),
    (r"s_.*", Kind.UNIFORM),
]
_ENDS = ("s_branch", "s_endpgm", "s_setpc_b64")


def parse(text: str) -> list[Instruction]:
    """Return the instructions of a kernel, numbered in their order: the text has no addresses."""
    found: list[tuple[str, str]] = []
    labels: dict[str, int] = {}
    for line in text.splitlines():
        if ".amdhsa_kernel" in line:
            break
        if label := _LABEL.match(line):
            labels[label[1]] = len(found)
        elif match := _INSTRUCTION.match(line):
            found.append((match[1], match[2].strip()))
    return [_instruction(number, *each, labels) for number, each in enumerate(found)]


def _instruction(address: int, opcode: str, operands: str, labels: dict[str, int]) -> Instruction:
    kind = next((kind for pattern, kind in _KINDS if re.fullmatch(pattern, opcode)), Kind.OTHER)
    return Instruction(
        address=address,
        text=f"{opcode} {operands}".strip(),
        kind=kind,
        target=labels.get(operands) if kind is Kind.BRANCH else None,
        goes_on=opcode not in _ENDS,
        flops=_flops(opcode) if kind is Kind.TENSOR else 0.0,
        shared_bytes=_bytes(opcode) if kind in (Kind.SHARED_LOAD, Kind.SHARED_STORE) else 0,
    )


def _flops(opcode: str) -> float | None:
    """FLOP of one wave's instruction: v_mfma_f32_32x32x8_f16, or v_mfma_f32_4x4x4_16b_f16 for 16 blocks."""
    found = re.search(r"_(\d+)x(\d+)x(\d+)_?(?:(\d+)b)?", opcode)
    if not found:
        return None
    m, n, k, blocks = (int(part or 1) for part in found.groups())
    return 2.0 * m * n * k * blocks


def _bytes(opcode: str) -> int:
    """Bytes that a wave moves: ds_read_b128 16 a lane, ds_read2_b64 twice 8."""
    size = re.search(r"_[biuf](\d+)", opcode)
    return _WAVE_SIZE * (2 if "2" in opcode.split("_")[1] else 1) * int(size[1] if size else 32) // 8
