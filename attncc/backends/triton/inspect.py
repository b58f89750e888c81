"""Any stage of a kernel, from its source to its machine code, and its speed as predicted from the latter."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from attncc.backends.triton import demand
from attncc.backends.triton.aot import Variant
from attncc.errors import BackendError
from attncc.machine_code.compiled import Compiled
from attncc.machine_code.compiler import compile
from attncc.machine_code.loops import Loop, full_and_partial, main_loops
from attncc.machine_code.throughput import Throughput, TileDemand, predict
from attncc.targets import Gpu

#: Stages that are text, by what compiles them; `triton` is the generated source.
TEXTS = {
    "cuda": ("triton", "ttir", "ttgir", "llir", "ptx", "sass"),
    "hip": ("triton", "ttir", "ttgir", "llir", "amdgcn"),
}


@dataclass(frozen=True, eq=False)
class Inspection:
    """One kernel, for inputs of a dtype on a GPU; it is compiled when a stage asks for it."""

    variant: Variant
    dtype: str
    gpu: Gpu

    @property
    def title(self) -> str:
        """The kernel's name, how it differs from the plain form, and its sets."""
        spec = self.variant.spec
        names = ("gather_rows", "gather_cols", "head_subset", "packed", "continues", "split", "atomic", "of_keys")
        marks = [name.replace("_", " ").replace("cols", "keys") for name in names if getattr(spec, name)]
        return ", ".join([spec.kernel, *marks]) + (f": {spec.sets}" if spec.sets else "")

    @cached_property
    def compiled(self) -> Compiled:
        """The compiled kernel; raises BackendError if it can't be compiled."""
        return compile(self.variant.source, self.gpu)

    def text(self, stage: str) -> str:
        """Return a stage as text; raises BackendError for one that the target's compiler doesn't have."""
        stages = TEXTS[self.gpu.backend]
        if stage not in stages:
            raise BackendError(
                f"There is no stage {stage!r} for {self.gpu.arch}.",
                rule=f"Its stages are {', '.join(stages)}.",
                fix=f"Ask for {stages[-1]}, its machine code.",
            )
        if stage == "triton":
            return self.variant.source.text
        if stage == "sass":
            return self.compiled.listing
        text = self.compiled.stages[stage]
        assert isinstance(text, str)
        return text

    def resources(self) -> dict[str, Any]:
        """Return the kernel's resources, the blocks that fit on a multiprocessor, and the limit that it passes."""
        taken = self.compiled.resources
        return asdict(taken) | {"blocks": taken.occupancy(self.gpu), "beyond the limits": taken.excess(self.gpu)}

    def mix(self) -> dict[str, dict[str, int]]:
        """Return the instructions of each kind in the loops over full and over partial runs."""
        mixes = {name: loop.mix for name, loop in self._loops.items()}
        return {name: {**{str(k): n for k, n in mix.counts.items()}, "all": mix.total} for name, mix in mixes.items()}

    def throughput(self) -> dict[str, Throughput]:
        """Return the predicted throughput of each loop; empty for a kernel without products, or one that can't run."""
        if not self.variant.spec.visits_tiles or self.compiled.resources.excess(self.gpu):
            return {}
        constants: dict[str, Any] = dict(self.variant.constants)
        tile = TileDemand(demand.flops(self.variant.spec, constants), dtype=demand.product_dtype(constants, self.dtype))
        return {name: predict(loop.mix, self.compiled.resources, self.gpu, tile) for name, loop in self._loops.items()}

    @cached_property
    def _loops(self) -> dict[str, Loop]:
        full, partial = full_and_partial(main_loops(self.compiled.instructions))
        return {name: loop for name, loop in (("full runs", full), ("partial runs", partial)) if loop is not None}
