"""Compiled kernels: every stage of the compiler, with instructions and resources read from the last one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from attncc.machine_code import amdgcn, loops, sass, tools
from attncc.machine_code.instructions import Instruction, Mix, OpKind
from attncc.machine_code.resources import Resources


@dataclass(frozen=True)
class Compiled:
    """A kernel as triton compiled it."""

    name: str  # of its entry point
    backend: str
    stages: Mapping[str, str | bytes]  # `ttir`, `ttgir`, `llir`, then `ptx`, `cubin`, `sass`, or `amdgcn`, `hsaco`
    shared: int  # bytes of dynamic shared memory
    warps: int  # of a block
    scratch: int  # bytes of global memory that a block needs

    @classmethod
    def of(cls, kernel: Any) -> Compiled:
        """Return the stages and facts of a triton CompiledKernel."""
        metadata = kernel.metadata
        stages = {name: kernel.asm[name] for name in kernel.asm if name != "source"}
        if "cubin" in stages:  # kept, since disassembling takes most of a second
            stages["sass"] = tools.cuobjdump(stages["cubin"], "-sass")
        scratch = getattr(metadata, "global_scratch_size", 0)
        return cls(metadata.name, metadata.target.backend, stages, metadata.shared, metadata.num_warps, scratch)

    @property
    def binary(self) -> bytes:
        """The cubin or hsaco."""
        binary = self.stages["cubin" if self.backend == "cuda" else "hsaco"]
        assert isinstance(binary, bytes)
        return binary

    @cached_property
    def listing(self) -> str:
        """SASS, or the amdgcn text."""
        return self._text("sass" if self.backend == "cuda" else "amdgcn")

    @cached_property
    def instructions(self) -> tuple[Instruction, ...]:
        """All instructions, in the order of the code."""
        return tuple((sass if self.backend == "cuda" else amdgcn).parse(self.listing))

    @property
    def parameters(self) -> int:
        """The number of arguments that the entry point takes: the kernel's own, then pointers to scratch memory."""
        if self.backend == "cuda":
            entry = self._text("ptx").partition(".entry")[2].partition("{")[0]
            return entry.count(".param")
        arguments = self._text("amdgcn").partition("    .args:")[2].partition(".group_segment_fixed_size")[0]
        return len(re.findall(r"\.value_kind:\s+(?:global_buffer|by_value)", arguments))

    @cached_property
    def resources(self) -> Resources:
        """The resources that it takes, read from the compiled code."""
        return self._cuda() if self.backend == "cuda" else self._hip()

    @cached_property
    def mixes(self) -> tuple[Mix, Mix] | None:
        """Instructions of the loops over full and over partial runs, None if there is no loop; see loops.mixes."""
        return loops.mixes(self.instructions)

    def _cuda(self) -> Resources:
        usage = tools.cuobjdump(self.binary, "-res-usage")
        spills = sum(i.kind is OpKind.SPILL for i in self.instructions)
        return Resources(_number(r"\bREG:", usage), _number(r"\bSTACK:", usage), spills, self.shared, self.warps)

    def _hip(self) -> Resources:
        text = self._text("amdgcn")
        return Resources(
            registers=_number(r"\.vgpr_count:", text),
            stack=_number(r"\.private_segment_fixed_size:", text),
            spills=_number(r"\.vgpr_spill_count:", text),
            shared=max(self.shared, _number(r"\.group_segment_fixed_size:", text)),
            warps=self.warps,
            scalar_registers=_number(r"\.sgpr_count:", text),
        )

    def _text(self, stage: str) -> str:
        text = self.stages[stage]
        assert isinstance(text, str)
        return text


def _number(name: str, text: str) -> int:
    match = re.search(rf"{name}\s*(\d+)", text)
    return int(match[1]) if match else 0
