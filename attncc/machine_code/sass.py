"""SASS, the machine code of NVIDIA GPUs, from the text that cuobjdump prints."""

from __future__ import annotations

import re

from attncc.machine_code.instructions import Instruction, OpKind

#: /*0080*/  @P0 BRA 0x220 ;   or, from nvdisasm, with a label in place of the address.
_LINE = re.compile(r"^\s*/\*([0-9a-f]{4,})\*/\s+(?:@(!?U?P\w+)\s+)?([A-Z][\w.]*)\s*([^;]*);")
_ADDRESS = re.compile(r"\b0x([0-9a-f]+)\s*$")
#: DEPBAR.LE SB0, 0x2: two groups of copies may be left. (Other scoreboards aren't groups.)
_PENDING = re.compile(r"SB0, 0x([0-9a-f]+)\s*$")
_WARP_SIZE = 32

#: First part of an opcode -> its kind; what isn't here, and doesn't begin with U, is OTHER.
_KINDS = {
    OpKind.TENSOR: "HMMA HGMMA IMMA IGMMA QMMA QGMMA BMMA DMMA OMMA UTCHMMA UTCQMMA UTCIMMA UTCOMMA",
    OpKind.SPECIAL: "MUFU",
    OpKind.FP32: "FADD FADD2 FMUL FMUL2 FFMA FFMA2 FADD32I FMUL32I FFMA32I HADD2 HMUL2 HFMA2 FSWZADD",
    OpKind.MINMAX: "FMNMX FMNMX3 HMNMX2 FSET IMNMX VIMNMX VIMNMX3",
    OpKind.COMPARE: "FSETP ISETP HSETP2 PLOP3 FCHK",
    OpKind.SELECT: "FSEL SEL P2R R2P",
    OpKind.INTEGER: "IADD3 IADD IADD2 IMAD IMUL IABS LEA SHF SHL SHR LOP3 LOP VIADD VIADDMNMX PRMT SGXT BMSK POPC "
    "FLO BREV IDP",
    OpKind.CONVERT: "F2F F2FP F2I I2F I2FP I2I F2IP FRND",
    OpKind.SHUFFLE: "SHFL REDUX CREDUX VOTE VOTEU MATCH",
    OpKind.SHARED_LOAD: "LDS LDSM LDTM",
    OpKind.SHARED_STORE: "STS STSM STTM",
    OpKind.GLOBAL_LOAD: "LDG LD LDGSTS UTMALDG UTMAPF LDC LDCU ULDC",
    OpKind.GLOBAL_STORE: "STG ST RED ATOM ATOMG ATOMS UTMASTG UTMAREDG REDG",
    OpKind.SPILL: "LDL STL",
    OpKind.SYNC: "BAR DEPBAR LDGDEPBAR MEMBAR FENCE SYNCS WARPSYNC WARPGROUP ARRIVES ERRBAR CCTL UTCBAR UTCATOMSWS "
    "UTMACMDFLUSH NANOSLEEP ELECT BSSY BSYNC YIELD",
    OpKind.BRANCH: "BRA BRX JMP EXIT RET CALL RPCMOV",
    OpKind.MOVE: "MOV MOVM MOV32I CS2R S2R S2UR R2UR UR2R",
}
_KIND_OF = {name: kind for kind, listed in _KINDS.items() for name in listed.split()}
_SHARED_KINDS = (OpKind.SHARED_LOAD, OpKind.SHARED_STORE)


def parse(text: str) -> list[Instruction]:
    """Return the instructions of a listing of one function, in their order."""
    return [_instruction(*match.groups()) for line in text.splitlines() if (match := _LINE.match(line))]


def _instruction(address: str, guard: str | None, opcode: str, operands: str) -> Instruction:
    name, *modifiers = opcode.split(".")
    kind = _KIND_OF.get(name, OpKind.UNIFORM if name.startswith("U") else OpKind.OTHER)
    jump = _ADDRESS.search(operands) if kind is OpKind.BRANCH else None
    # BRA P0, 0x80 and BRA.U UP0, 0x80 carry their condition among the operands.
    conditional = guard is not None or "," in operands
    return Instruction(
        address=int(address, 16),
        text=f"{opcode} {operands.strip()}".strip(),
        kind=kind,
        target=int(jump[1], 16) if jump else None,
        goes_on=conditional or name not in ("BRA", "JMP", "EXIT", "RET", "BRX", "CALL"),
        flops=_flops(name, modifiers) if kind is OpKind.TENSOR else 0.0,
        shared_bytes=_bytes(name, modifiers) if kind in _SHARED_KINDS and not name.endswith("TM") else 0,
        loaded_bytes=_bytes(name, modifiers) if name in ("LDG", "LDGSTS") else 0,
        commits=name == "LDGDEPBAR",
        pending=int(pending[1], 16) if (pending := _PENDING.match(operands)) and name == "DEPBAR" else None,
    )


def _flops(name: str, modifiers: list[str]) -> float | None:
    """Return the FLOP of one warp's instruction.

    HMMA.16816 is 16 x 8 x 16; HGMMA.64x64x16 is shared by the four warps of a group.
    The products of Blackwell's UTC*MMA have their shape in a descriptor that the text doesn't show.
    """
    for modifier in modifiers:
        if shape := re.fullmatch(r"(\d+)x(\d+)x(\d+)", modifier):
            m, n, k = map(int, shape.groups())
            return 2.0 * m * n * k / 4
        if shape := re.fullmatch(r"(16|8)(8)(4|8|16|32|64|128)", modifier):
            m, n, k = map(int, shape.groups())
            return 2.0 * m * n * k
    return None


def _bytes(name: str, modifiers: list[str]) -> int:
    """Return the bytes that a warp moves: LDSM.M88.4 four 8 x 8 matrices of 16 bits, LDS.128 16 bytes a lane."""
    if name in ("LDSM", "STSM"):
        count = next((int(m) for m in reversed(modifiers) if m in ("2", "4")), 1)
        return count * 8 * 8 * 2
    size = next((int(m) for m in modifiers if m in ("64", "128")), None)
    narrow = next((int(m[1:]) for m in modifiers if m in ("U8", "S8", "U16", "S16")), 32)
    return _WARP_SIZE * (size or narrow) // 8
