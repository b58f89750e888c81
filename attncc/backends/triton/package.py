"""A folder of compiled kernels: binaries, what the compiler made of them, how to launch them, and a loader.

manifest.json holds the pattern and its sets, the score and its weights, sizes, versions, and for each kernel its
arguments in order with their types, its constants and resources; `forward`, `delta` and `backward` list the launches in
order, with grids and the arrays (in arrays.bin) and numbers that each gets; `files` the size and SHA-256 of each other
file, and `checksum` that of the manifest itself. loader.py checks these and runs the kernels; it needs PyTorch, but
neither attncc nor triton.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from attncc._util.machine import versions
from attncc._util.storage import put
from attncc.backends.triton.aot import source
from attncc.backends.triton.launch import Launch
from attncc.backends.triton.loader import checksum
from attncc.backends.triton.program import Part, Program, Side
from attncc.backends.triton.spec import strides_of
from attncc.backends.triton.variants import Variant, variant_of, variants
from attncc.ir.notation import connectivity
from attncc.ir.score import ScoreExpression
from attncc.machine_code.compiled import Compiled
from attncc.machine_code.compiler import compile_all
from attncc.targets import Gpu


@dataclass(frozen=True, eq=False)
class Package:
    """Kernels of a program, compiled: for inputs of a dtype, on a GPU that the target `target` stands for."""

    program: Program
    dtype: str
    target: str
    gpu: Gpu
    kernels: dict[str, tuple[Variant, Compiled]]
    _arrays: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def made(
        cls,
        program: Program,
        dtype: str,
        target: str,
        gpu: Gpu,
        *,
        backward: bool = True,
        on_done: Callable[[str], None] = lambda name: None,
    ) -> Package:
        """Compile all kernels side by side; `on_done` gets the name of each.

        Raises BackendError if one doesn't compile, ConfigError if one doesn't fit on the GPU.
        """
        listed = variants(program, dtype, backward=backward)
        sources = [source(variant) for variant in listed]
        found = compile_all(sources, gpu, workers=os.cpu_count() or 1, on_done=lambda done: on_done(done.name))
        for variant, compiled in zip(listed, found, strict=True):
            compiled.resources.require(gpu, f"The {variant.spec.kernel} kernel")
        names = [f"{variant.spec.kernel}_{number}" for number, variant in enumerate(listed)]
        return cls(program, dtype, target, gpu, dict(zip(names, zip(listed, found, strict=True), strict=True)))

    def write(self, folder: Path) -> list[Path]:
        """Write the folder; return its files."""
        manifest = json.dumps(self.manifest(), indent=2) + "\n"
        files = self._files() | {"manifest.json": manifest.encode()}
        for name, content in files.items():
            put(folder / name, content, folder)
        return [folder / name for name in files]

    def _files(self) -> dict[str, bytes]:
        """Return the files that the manifest lists; the arrays are those of the launches, which have been described."""
        files: dict[str, str | bytes] = {
            "arrays.bin": b"".join(array.numpy().tobytes() for array in self._arrays.values()),
            "loader.py": resources.files(__package__).joinpath("loader.py").read_text("utf-8"),
        }
        for name, (variant, compiled) in self.kernels.items():
            kept = {"cubin": "cubin", "ptx": "ptx", "hsaco": "hsaco", "amdgcn": "s"}
            files |= {f"{name}.{kept[stage]}": text for stage, text in compiled.stages.items() if stage in kept}
            files[f"{name}.py"] = source(variant).text
        return {name: content.encode() if isinstance(content, str) else content for name, content in files.items()}

    def manifest(self) -> dict[str, Any]:
        """Return what manifest.json holds."""
        plan, program, gpu = self.program.plan, self.program, self.gpu
        sizes, shape = program.lowering.sizes, plan.shape
        backward = any(variant.spec.kernel == "delta" for variant, _ in self.kernels.values())
        sides = {"forward": self._side(program.forward, ())}
        if backward:
            sides |= {"delta": self._delta(), "backward": self._backward()}  # type: ignore[dict-item]
        described = {
            "pattern": repr(plan.pattern),
            "key": plan.pattern.key,
            "sets": [connectivity(subset, m) for m, subset in enumerate(plan.pattern.subsets, start=1)],
            "score": None if (score := program.lowering.score) is None else str(score),
            "weights": [] if score is None else _weights(score),
            "target": {"name": self.target, "backend": gpu.backend, "arch": gpu.arch, "warp_size": gpu.warp_size},
            "versions": versions(("attncc", "triton")),
            "sizes": {
                "dtype": self.dtype,
                "batch": program.batch,
                "heads": program.heads,
                "kv_heads": program.kv_heads,
                "q_len": shape.q_len,
                "kv_len": shape.kv_len,
                "q_offset": shape.q_offset,
                "head_dim": sizes.head_dim,
                "value_dim": sizes.value_dim,
                "far": program.lowering.far,
            },
            "of_rows": list(program.of_rows),
            "config": asdict(program.lowering.config),
            "kernels": {name: self._kernel(name, *each) for name, each in self.kernels.items()},
            **sides,
            "arrays": self._laid_out(),
        }
        described |= {"files": {name: _sealed(content) for name, content in self._files().items()}}
        return described | {"checksum": checksum(described)}

    def _kernel(self, name: str, variant: Variant, compiled: Compiled) -> dict[str, Any]:
        found = compiled.resources
        return {
            "file": f"{name}.{'cubin' if self.gpu.backend == 'cuda' else 'hsaco'}",
            "entry": compiled.name,
            "arguments": variant.types,
            "scratch_arguments": compiled.parameters - len(variant.types),
            "scratch_bytes": compiled.scratch,
            "constants": dict(variant.constants),
            "aligned_to_16": sorted(variant.aligned & dict(variant.types).keys()),
            "threads": compiled.warps * self.gpu.warp_size,
            "num_warps": compiled.warps,
            "num_stages": variant.num_stages,
            "shared": compiled.shared,
            "resources": asdict(found) | {"blocks_on_a_multiprocessor": found.occupancy(self.gpu)},
        }

    def _backward(self) -> list[dict[str, Any]]:
        program, atomic = self.program, self.program.atomic
        keys = self._side(program.key_gradient, ("DK", "DV"))
        if atomic:
            writes = ["DQ", *keys["writes"]]
            return [keys | {"writes": writes, "atomic": ["DQ"]}]
        return [self._side(program.query_gradient, ("DQ",)), keys]

    def _delta(self) -> dict[str, Any]:
        program = self.program
        launch = program.delta
        side = Side((), covers=True, once=True)
        programs = launch.count * program.batch * program.heads
        return {"steps": [self._step(launch, side, programs, "whole", None)]}

    def _side(self, side: Side, writes: tuple[str, ...]) -> dict[str, Any]:
        steps = [step for part in side.parts for step in self._steps(part, side, writes)]
        return {"covers": side.covers, "once": side.once, "writes": list(writes), "atomic": [], "steps": steps}

    def _steps(self, part: Part, side: Side, writes: tuple[str, ...]) -> Iterator[dict[str, Any]]:
        """The launches of a part, as the backend does them."""
        work = part.work
        if work.whole:
            yield self._step(work.whole, side, part.programs(work.whole), "whole", None)
        if work.split:
            yield self._step(work.split, side, part.programs(work.split), "split", None)
            for join, result in zip(work.joins, writes or (None,), strict=True):
                yield self._step(join, side, part.programs(join), "join", result)

    def _step(self, launch: Launch, side: Side, programs: int, role: str, result: str | None) -> dict[str, Any]:
        variant = variant_of(launch, side, self.dtype, self.program.lowering.config)
        name = next(name for name, (known, _) in self.kernels.items() if known == variant)
        wanted, lowering = {argument for argument, _ in variant.types}, self.program.lowering
        numbers = dict(launch.numbers) | {
            "programs_per_head": launch.count,
            "num_heads": self.program.heads,
            "qheads_per_kvhead": lowering.sizes.group,
            "q_len": self.program.plan.shape.q_len,
            "kv_len": self.program.plan.shape.kv_len,
        }
        cpu = torch.device("cpu")
        arrays = dict(launch.arrays) | {table: data.narrow_on(cpu) for table, data in launch.spec.tables}
        return {
            "kernel": name,
            "role": role,
            "result": result,
            "programs": programs,
            "rows": launch.blocks.block_n if launch.spec.kernel == "key_gradient" else launch.blocks.block_m,
            "strides": {name: strides_of(name) for name in launch.spec.tensors},
            "arrays": {argument: self._kept(array) for argument, array in arrays.items()},
            "numbers": {argument: int(number) for argument, number in numbers.items() if argument in wanted},
        }

    def _kept(self, array: Tensor) -> str:
        """Return the name of an array in arrays.bin; steps of a pass share it."""
        for name, known in self._arrays.items():
            if known is array:
                return name
        self._arrays[f"array_{len(self._arrays)}"] = array
        return f"array_{len(self._arrays) - 1}"

    def _laid_out(self) -> dict[str, Any]:
        found, offset = {}, 0
        for name, array in self._arrays.items():
            dtype = {torch.int32: "i32", torch.int64: "i64"}[array.dtype]
            found[name] = {"dtype": dtype, "shape": list(array.shape), "offset": offset}
            offset += array.numel() * array.element_size()
        return found


def _sealed(content: bytes) -> dict[str, Any]:
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _weights(score: ScoreExpression) -> list[dict[str, Any]]:
    """Describe the weights that a score looks up: float32 tensors, contiguous; `name` is what the loader calls them."""
    found = sorted({lookup.weights for lookup in score.lookups}, key=lambda weights: weights.slot)
    labels = [weights.label for weights in found]
    return [
        {
            "name": weights.label if labels.count(weights.label) == 1 else f"{weights.label}_{weights.slot}",
            "argument": f"weights_{weights.slot}",
            "dtype": "fp32",
            "shape": list(weights.shape),
        }
        for weights in found
    ]
