"""A folder of compiled kernels: binaries, assembly, a manifest that says how to launch them, and a loader.

manifest.json holds the pattern and its sets, the score and its weights, sizes and versions. For each kernel it has the
arguments in order with their types, the constants and the resources. `forward`, `delta` and the entries of `backward`
are phases: they list launches in order, with their grids, arrays (in arrays.bin) and numbers. `files` holds the size
and SHA-256 of each other file, and `checksum` that of the manifest itself. loader.py checks these and runs the kernels;
it needs PyTorch, but neither attncc nor triton.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from attncc._util.machine import versions
from attncc._util.storage import put
from attncc.backends.triton.aot import Variant, variants
from attncc.backends.triton.launch import Launch, Phase
from attncc.backends.triton.loader import checksum
from attncc.backends.triton.lowered_plan import LoweredPlan
from attncc.backends.triton.signature import strides_of
from attncc.ir.notation import connectivity
from attncc.ir.score import ScoreExpression
from attncc.machine_code.compiled import Compiled
from attncc.machine_code.compiler import compile_all
from attncc.targets import Gpu


@dataclass(frozen=True, eq=False)
class Package:
    """The compiled kernels of a lowered plan."""

    lowered: LoweredPlan
    dtype: str  # of the inputs, as triton names it
    target: str  # its name; `gpu` describes it
    gpu: Gpu
    kernels: dict[str, tuple[Variant, Compiled]]  # by the name of their files
    _arrays: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def made(
        cls,
        lowered: LoweredPlan,
        dtype: str,
        target: str,
        gpu: Gpu,
        *,
        backward: bool = True,
        on_done: Callable[[str], None] = lambda name: None,
    ) -> Package:
        """Compile all kernels side by side; `on_done` gets the name of each.

        Raises:
            BackendError: A kernel doesn't compile.
            ConfigError: A kernel doesn't fit on the GPU.
        """
        listed = variants(lowered, dtype, backward=backward)
        sources = [variant.source for variant in listed]
        compiled = compile_all(sources, gpu, workers=os.cpu_count() or 1, on_done=lambda done: on_done(done.name))
        kernels = {}
        for number, (variant, code) in enumerate(zip(listed, compiled, strict=True)):
            code.resources.require(gpu, f"The {variant.spec.kernel} kernel")
            kernels[f"{variant.spec.kernel}_{number}"] = variant, code
        return cls(lowered, dtype, target, gpu, kernels)

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
            files[f"{name}.py"] = variant.source.text
        return {name: content.encode() if isinstance(content, str) else content for name, content in files.items()}

    def manifest(self) -> dict[str, Any]:
        """Return the content of manifest.json."""
        lowered, gpu, plan = self.lowered, self.gpu, self.lowered.plan
        sizes, shape = lowered.lowering.shape, plan.shape
        phases: dict[str, Any] = {"forward": self._phase(lowered.forward)}
        if any(variant.spec.kernel == "delta" for variant, _ in self.kernels.values()):
            gradients = [self._phase(phase) for phase in lowered.gradients]
            if lowered.atomic:
                gradients = [each | {"writes": ["DQ", *each["writes"]], "atomic": ["DQ"]} for each in gradients]
            phases |= {"delta": self._phase(lowered.delta), "backward": gradients}
        described = {
            "pattern": repr(plan.pattern),
            "key": plan.pattern.key,
            "sets": [connectivity(subset, m) for m, subset in enumerate(plan.pattern.subsets, start=1)],
            "score": None if (score := lowered.lowering.score) is None else str(score),
            "weights": [] if score is None else _weights(score),
            "target": {"name": self.target, "backend": gpu.backend, "arch": gpu.arch, "warp_size": gpu.warp_size},
            "versions": versions(("attncc", "triton")),
            "sizes": {
                "dtype": self.dtype,
                "batch": lowered.batch,
                "heads": lowered.heads,
                "kv_heads": lowered.kv_heads,
                "q_len": shape.q_len,
                "kv_len": shape.kv_len,
                "q_offset": shape.q_offset,
                "head_dim": sizes.head_dim,
                "value_dim": sizes.value_dim,
                "far": lowered.lowering.far,
            },
            "config": asdict(lowered.lowering.config),
            "kernels": {name: self._kernel(name, *each) for name, each in self.kernels.items()},
            **phases,
            "arrays": self._laid_out(),
        }
        files = {name: (len(data), hashlib.sha256(data).hexdigest()) for name, data in self._files().items()}
        described["files"] = {name: {"bytes": size, "sha256": digest} for name, (size, digest) in files.items()}
        return described | {"checksum": checksum(described)}

    def _kernel(self, name: str, variant: Variant, compiled: Compiled) -> dict[str, Any]:
        taken = compiled.resources
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
            "resources": asdict(taken) | {"blocks_on_a_multiprocessor": taken.occupancy(self.gpu)},
        }

    def _phase(self, phase: Phase) -> dict[str, Any]:
        launches = [self._launch(launch) for launch in phase.launches]
        facts = {"covers": phase.covers, "once": phase.once, "writes": list(phase.writes), "atomic": []}
        return facts | {"launches": launches}

    def _launch(self, launch: Launch) -> dict[str, Any]:
        variant = Variant.of(launch, self.dtype, self.lowered.lowering.config)
        name = next(name for name, (each, _) in self.kernels.items() if each == variant)
        wanted = {argument for argument, _ in variant.types}
        numbers = {**launch.numbers, "programs_per_head": launch.count, **self.lowered.numbers}
        cpu = torch.device("cpu")
        arrays = dict(launch.arrays) | {table: data.narrow_on(cpu) for table, data in launch.spec.tables}
        return {
            "kernel": name,
            "role": launch.spec.role,
            "writes": dict(launch.writes),
            "programs": launch.programs,
            "tile_rows": launch.tile_rows,
            "strides": {tensor: strides_of(tensor) for tensor in launch.spec.tensors},
            "arrays": {argument: self._kept(array) for argument, array in arrays.items()},
            "numbers": {argument: int(number) for argument, number in numbers.items() if argument in wanted},
        }

    def _kept(self, array: Tensor) -> str:
        """Return the name of an array in arrays.bin; launches of a pass share it."""
        for name, each in self._arrays.items():
            if each is array:
                return name
        self._arrays[f"array_{len(self._arrays)}"] = array
        return f"array_{len(self._arrays) - 1}"

    def _laid_out(self) -> dict[str, Any]:
        layout, offset = {}, 0
        for name, array in self._arrays.items():
            dtype = {torch.int32: "i32", torch.int64: "i64"}[array.dtype]
            layout[name] = {"dtype": dtype, "shape": list(array.shape), "offset": offset}
            offset += array.numel() * array.element_size()
        return layout


def _weights(score: ScoreExpression) -> list[dict[str, Any]]:
    """Describe the weights that a score looks up: float32 tensors, contiguous; `name` is their name in the loader."""
    ordered = sorted({lookup.weights for lookup in score.lookups}, key=lambda weights: weights.slot)
    labels = [weights.label for weights in ordered]
    return [
        {
            "name": weights.label if labels.count(weights.label) == 1 else f"{weights.label}_{weights.slot}",
            "argument": f"weights_{weights.slot}",
            "dtype": "fp32",
            "shape": list(weights.shape),
        }
        for weights in ordered
    ]
