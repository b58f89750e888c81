"""Machine code of AMD's CDNA GPUs, from the assembly text that triton's compiler gives."""

from __future__ import annotations

import re

from attncc.machine_code.instructions import Instruction, OpKind

_INSTRUCTION = re.compile(r"^\s+([a-z][a-z0-9_]*)\b\s*([^;]*)")
_LABEL = re.compile(r"^(\.?L?[\w$.]+):")
_WAVE_SIZE = 64

#: Patterns of opcodes in the order in which they are tried.
_KINDS = [
    (r"v_s?mfma_.*|v_mfma.*", OpKind.TENSOR),
    (r"v_(exp|log|rcp|rsq|sqrt|sin|cos)_.*", OpKind.SPECIAL),
    (r"v_(max3?|min3?|pk_max|pk_min|med3)_(num_)?f.*", OpKind.MINMAX),
    (r"v_cmpx?_.*", OpKind.COMPARE),
    (r"v_cndmask_.*", OpKind.SELECT),
    (r"v_cvt_.*|v_pack_.*", OpKind.CONVERT),
    (r"v_(pk_)?(add|sub|subrev|mul|fma|fmac|mac|mad|dot2c?|ldexp)_(legacy_)?f.*", OpKind.FP32),
    (r"v_accvgpr_.*|v_mov_.*|v_swap_.*", OpKind.MOVE),
    (r"ds_(b?permute|swizzle)_.*|v_readlane_.*|v_writelane_.*|v_readfirstlane_.*|v_permlane.*", OpKind.SHUFFLE),
    (r"v_.*", OpKind.INTEGER),
    (r"ds_read.*|ds_load.*", OpKind.SHARED_LOAD),
    (r"ds_.*", OpKind.SHARED_STORE),
    (r"scratch_.*", OpKind.SPILL),
    (r"(global|flat|buffer)_(load|wbl2|inv).*|s_load_.*|s_buffer_load.*", OpKind.GLOBAL_LOAD),
    (r"(global|flat|buffer)_.*", OpKind.GLOBAL_STORE),
    (r"s_(barrier|waitcnt|nop|sleep|setprio|sched).*", OpKind.SYNC),
    (r"s_(c?branch|endpgm|setpc|swappc).*", OpKind.BRANCH),
    (r"s_.*", OpKind.UNIFORM),
]
_ENDS = ("s_branch", "s_endpgm", "s_setpc_b64")


def parse(text: str) -> list[Instruction]:
    """Return the instructions of a kernel, numbered in their order: the text has no addresses."""
    listed: list[tuple[str, str]] = []
    labels: dict[str, int] = {}
    for line in text.splitlines():
        if ".amdhsa_kernel" in line:
            break
        if label := _LABEL.match(line):
            labels[label[1]] = len(listed)
        elif match := _INSTRUCTION.match(line):
            listed.append((match[1], match[2].strip()))
    return [_instruction(number, *each, labels) for number, each in enumerate(listed)]


def _instruction(address: int, opcode: str, operands: str, labels: dict[str, int]) -> Instruction:
    kind = next((kind for pattern, kind in _KINDS if re.fullmatch(pattern, opcode)), OpKind.OTHER)
    return Instruction(
        address=address,
        text=f"{opcode} {operands}".strip(),
        kind=kind,
        target=labels.get(operands) if kind is OpKind.BRANCH else None,
        goes_on=opcode not in _ENDS,
        flops=_flops(opcode) if kind is OpKind.TENSOR else 0.0,
        shared_bytes=_bytes(opcode) if kind in (OpKind.SHARED_LOAD, OpKind.SHARED_STORE) else 0,
    )


def _flops(opcode: str) -> float | None:
    """Return the FLOP of one wave's instruction: v_mfma_f32_32x32x8_f16, or v_mfma_f32_4x4x4_16b_f16 for 16 blocks."""
    shape = re.search(r"_(\d+)x(\d+)x(\d+)_?(?:(\d+)b)?", opcode)
    if not shape:
        return None
    m, n, k, blocks = (int(part or 1) for part in shape.groups())
    return 2.0 * m * n * k * blocks


def _bytes(opcode: str) -> int:
    """Return the bytes that a wave moves: ds_read_b128 16 a lane, ds_read2_b64 twice 8."""
    size = re.search(r"_[biuf](\d+)", opcode)
    return _WAVE_SIZE * (2 if "2" in opcode.split("_")[1] else 1) * int(size[1] if size else 32) // 8
