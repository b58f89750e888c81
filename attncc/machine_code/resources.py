"""Resources of a compiled kernel, whether a target has them, and how many blocks fit on a multiprocessor."""

from __future__ import annotations

from dataclasses import dataclass

from attncc.errors import ConfigError
from attncc.targets import Gpu


@dataclass(frozen=True)
class Resources:
    """The resources that a compiled kernel takes."""

    registers: int  # of a thread; AMD: vector registers, accumulators included
    stack: int  # bytes of a thread
    spills: int  # instructions that go to the stack; AMD: vector registers that do
    shared: int  # bytes of a block
    warps: int  # of a block
    scalar_registers: int = 0  # of a wave, AMD only

    def occupancy(self, gpu: Gpu) -> int:
        """Return how many blocks fit on a multiprocessor at a time, 0 if none does."""
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
