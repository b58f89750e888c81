"""Bound launches: kernels with all arguments in place but those that differ from call to call.

Launching costs the host some tens of microseconds, as long as a GPU takes for a short sequence, so that a call fills in
its tensors, their strides and the scale, and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import torch
from torch import Tensor
from triton.compiler import CompiledKernel
from triton.compiler.errors import CompilationError
from triton.runtime.errors import OutOfResources, PTXASError

from attncc.backends.triton import interpreter
from attncc.backends.triton.launch import Launch
from attncc.backends.triton.modules import kernel
from attncc.backends.triton.program import Program
from attncc.backends.triton.spec import strides_of
from attncc.errors import REPORT, BackendError, ConfigError
from attncc.machine_code.options import options

LOG_2_E = math.log2(math.e)
#: Bytes of which Triton has pointers be multiples, or else it compiles a kernel anew.
ALIGNMENT = 16


@dataclass(frozen=True, eq=False)
class Bound:
    """A launch on its device.

    template: the arguments in the kernel's order, None where a call brings them. tensors: (place, name) of these.
    strides: (place of the first of a tensor's three, its name). scale, first: places of the scale, and of the number of
    the first program, None where the kernel has no such argument. unit: what the scale is multiplied by.
    """

    launch: Launch
    kernel: Any
    options: Mapping[str, object]
    template: tuple[object, ...]
    tensors: tuple[tuple[int, str], ...]
    strides: tuple[tuple[int, str], ...]
    scale: int | None
    first: int | None
    unit: float
    _compiled: dict[tuple[object, ...], CompiledKernel] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, launch: Launch, known: Mapping[str, object]) -> Self:
        """Return a launch with what is `known` of its arguments, by name, beside what it brings itself."""
        spec, blocks = launch.spec, launch.blocks
        values = {**known, **launch.arrays, **launch.numbers, "programs_per_head": launch.count}
        given = [name for name in spec.pointers if name not in values]
        place = {name: number for number, name in enumerate(spec.arguments)}
        return cls(
            launch,
            kernel(spec),
            {"num_warps": blocks.num_warps, "num_stages": blocks.num_stages, **options(_compiler())},
            tuple(map(values.get, spec.arguments)),
            tuple((place[name], name) for name in given),
            tuple((place[strides_of(name)[0]], name) for name in spec.tensors),
            place.get("scale"),
            place.get("first_program"),
            1.0 if spec.score else LOG_2_E,
        )

    def __call__(self, programs: int, tensors: Mapping[str, Tensor], scale: float, first: int = 0) -> None:
        """Launch; raises ConfigError if the kernel's blocks need more of the GPU than there is."""
        arguments = list(self.template)
        alike: list[object] = [first]
        addresses = 0
        for place, name in self.tensors:
            arguments[place] = x = tensors[name]
            alike.append(x.dtype)
            addresses |= x.data_ptr()
        for place, name in self.strides:
            arguments[place : place + 3] = strides = tensors[name].stride()[:3]
            alike.append(strides)
        if self.scale is not None:
            arguments[self.scale] = scale * self.unit
        if self.first is not None:
            arguments[self.first] = first
        self._launch(programs, arguments, None if addresses % ALIGNMENT else tuple(alike))

    def _launch(self, programs: int, arguments: list[object], alike: tuple[object, ...] | None) -> None:
        """Launch the kernel that ran for arguments that are `alike`: to find it anew takes Triton 20 microseconds."""
        if alike is not None and (known := self._compiled.get(alike)) is not None:
            known[(programs, 1, 1)](*arguments)
            return
        found = self._chosen(programs, arguments)
        # the interpreter compiles nothing, and for AMD the sizes of storages matter, too
        if alike is not None and isinstance(found, CompiledKernel) and found.metadata.target.backend == "cuda":
            self._compiled[alike] = found

    def _chosen(self, programs: int, arguments: list[object]) -> object:
        """Launch the kernel that Triton chooses for the arguments, and return it."""
        try:
            return self.kernel[(programs,)](*arguments, **self.options)
        except OutOfResources as error:
            raise ConfigError(
                f"The {self.launch.spec.kernel} kernel with {self.launch.blocks}: {error}.",
                rule="A kernel's tiles fit the registers and the shared memory of a multiprocessor.",
                fix="Choose smaller blocks or fewer stages in `config`.",
            ) from error
        except CompilationError as error:
            raise BackendError(
                f"Triton could not compile the {self.launch.spec.kernel} kernel with {self.launch.blocks}: {error}",
                rule="The kernels are compiled when they are first launched; it stopped before registers or memory.",
                fix=f"Where the message is about a size, choose smaller blocks; else name backend='torch'. {REPORT}",
            ) from error
        except PTXASError as error:
            raise BackendError(
                f"Triton could not compile the {self.launch.spec.kernel} kernel with {self.launch.blocks}: {error}",
                rule="The kernels are compiled when they are first launched.",
                fix="Choose other blocks in `config`, or name backend='torch'.",
            ) from error


@dataclass(frozen=True, eq=False)
class Bindings:
    """A program's launches, each bound when it is first used."""

    program: Program
    _bound: dict[Launch, Bound] = field(default_factory=dict, repr=False)

    def of(self, launch: Launch) -> Bound:
        """Return one of the program's launches, bound."""
        if launch not in self._bound:
            self._bound[launch] = Bound.of(launch, self._known(launch))
        return self._bound[launch]

    def _known(self, launch: Launch) -> dict[str, object]:
        """Return the arguments that all of the program's calls have in common, by name."""
        program, shape = self.program, self.program.plan.shape
        group, precision = program.lowering.sizes.group, program.lowering.config.precision
        sizes = {"num_heads": program.heads, "qheads_per_kvhead": group, "q_len": shape.q_len, "kv_len": shape.kv_len}
        tables = {name: table.narrow_on(program.device) for name, table in launch.spec.tables}
        return sizes | tables | launch.constants(precision)


def _compiler() -> str:
    """Return which of triton's backends compiles the kernels, or that none does."""
    if interpreter.is_on():
        return "interpreter"
    return "hip" if torch.version.hip else "cuda"
