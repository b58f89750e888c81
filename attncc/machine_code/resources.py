"""What a compiled kernel takes of a multiprocessor, whether a target has it, and how many blocks fit."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from attncc.errors import ConfigError
from attncc.machine_code import amdgcn, sass, tools
from attncc.machine_code.instructions import Instruction, Kind
from attncc.targets import Gpu


@dataclass(frozen=True)
class Resources:
    """Registers of a thread (AMD: vector registers, accumulators included), stack bytes of a thread, spills.

    spills: instructions that go to the stack (AMD: registers that do); shared: bytes of a block; scalar_registers: of a
    wave, AMD only. warps: of a block.
    """

    registers: int
    stack: int
    spills: int
    shared: int
    warps: int
    scalar_registers: int = 0

    def occupancy(self, gpu: Gpu) -> int:
        """Return how many blocks fit on a multiprocessor at a time, 0 if not one does."""
        of_a_warp = -(-self.registers * gpu.warp_size // gpu.register_unit) * gpu.register_unit
        limits = [
            gpu.blocks,
            gpu.warps // self.warps,
            gpu.registers // (of_a_warp * self.warps) if of_a_warp else gpu.blocks,
            gpu.shared // (self.shared + gpu.shared_reserved) if self.shared else gpu.blocks,
        ]
        return min(limits)

    def excess(self, gpu: Gpu) -> str:
        """Return which limit of the target is passed, with both values, or an empty string."""
        if self.shared > gpu.shared_per_block:
            return f"{self.shared:,} bytes of shared memory for a block, {gpu.arch} has {gpu.shared_per_block:,}"
        if self.registers > gpu.registers_per_thread:
            return f"{self.registers} registers for a thread, {gpu.arch} has {gpu.registers_per_thread}"
        if not self.occupancy(gpu):
            return f"{self.warps} warps of {self.registers} registers, {gpu.arch} has {gpu.registers:,} registers"
        return ""

    def require(self, gpu: Gpu, what: str) -> None:
        """Raise ConfigError if the kernel can't run on the target."""
        if excess := self.excess(gpu):
            raise ConfigError(
                f"{what} needs {excess}.",
                rule="A compiled kernel has to fit on one multiprocessor.",
                fix="Choose smaller blocks, or fewer stages.",
            )


@dataclass(frozen=True)
class Compiled:
    """A kernel as triton compiled it: `binary` is a cubin or hsaco, `assembly` the amdgcn text (AMD only)."""

    backend: str
    binary: bytes
    assembly: str
    shared: int
    warps: int

    @classmethod
    def of(cls, kernel: Any) -> Compiled:
        """Take what is needed from a triton CompiledKernel."""
        backend = kernel.metadata.target.backend
        return cls(
            backend,
            kernel.asm["cubin" if backend == "cuda" else "hsaco"],
            kernel.asm.get("amdgcn", ""),
            kernel.metadata.shared,
            kernel.metadata.num_warps,
        )

    @cached_property
    def listing(self) -> str:
        """SASS, or the amdgcn text."""
        return tools.cuobjdump(self.binary, "-sass") if self.backend == "cuda" else self.assembly

    @cached_property
    def instructions(self) -> tuple[Instruction, ...]:
        """All instructions, in the order of the code."""
        return tuple((sass if self.backend == "cuda" else amdgcn).parse(self.listing))

    @cached_property
    def resources(self) -> Resources:
        """What it takes, read from the compiled code."""
        return self._cuda() if self.backend == "cuda" else self._hip()

    def _cuda(self) -> Resources:
        usage = tools.cuobjdump(self.binary, "-res-usage")
        spills = sum(i.kind is Kind.SPILL for i in self.instructions)
        return Resources(_number(r"\bREG:", usage), _number(r"\bSTACK:", usage), spills, self.shared, self.warps)

    def _hip(self) -> Resources:
        text = self.assembly
        return Resources(
            registers=_number(r"\.vgpr_count:", text) + _number(r"\.agpr_count:", text),
            stack=_number(r"\.private_segment_fixed_size:", text),
            spills=_number(r"\.vgpr_spill_count:", text) + _number(r"\.sgpr_spill_count:", text),
            shared=max(self.shared, _number(r"\.group_segment_fixed_size:", text)),
            warps=self.warps,
            scalar_registers=_number(r"\.sgpr_count:", text),
        )


def _number(name: str, text: str) -> int:
    found = re.search(rf"{name}\s*(\d+)", text)
    return int(found[1]) if found else 0
