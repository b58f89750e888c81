"""Bound launches: kernels with all arguments in place but those that differ from call to call.

Launching costs the host some tens of microseconds, as long as a GPU takes for a short sequence. So a call fills in its
tensors, their strides and the scale. Where its tensors lie as those of an earlier call did, it fills in the tensors and
the scale, and Triton isn't asked which kernel that is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import torch
from torch import Tensor
from triton.compiler import CompiledKernel
from triton.compiler.errors import CompilationError
from triton.runtime.errors import OutOfResources, PTXASError

from attncc.backends.triton import interpreter
from attncc.backends.triton.launch import Launch
from attncc.backends.triton.lowered_plan import LoweredPhases
from attncc.backends.triton.modules import kernel
from attncc.backends.triton.signature import strides_of
from attncc.errors import REPORT, BackendError, ConfigError
from attncc.machine_code.options import options

LOG_2_E = math.log2(math.e)
#: Bytes of which Triton has pointers be multiples, or else it compiles a kernel anew.
ALIGNMENT = 16


@dataclass(frozen=True, eq=False)
class BoundLaunch:
    """A launch on its device."""

    launch: Launch
    kernel: Any
    options: Mapping[str, object]
    template: tuple[object, ...]  # the arguments in the kernel's order, None where a call brings them
    # (place, name, place of the first of three strides or None) of those that a call brings
    tensors: tuple[tuple[int, str, int | None], ...]
    scale: int | None  # the place of the scale, None without one
    first: int | None  # the place of the number of the first program, None without one
    unit: float  # of the scale: products become base-2 logarithms, but for those under a score
    _compiled: dict[tuple[object, ...], CompiledKernel] = field(default_factory=dict, repr=False)

    def repeated(self, programs: int, tensors: Mapping[str, Tensor]) -> RepeatedLaunch | None:
        """Return the launch for tensors that lie as these do; None where it hasn't run for such, or isn't kept."""
        arguments, key = self._filled(tensors, 0)
        compiled = None if key is None else self._compiled.get(key)
        if compiled is None:
            return None
        places = tuple((place, name) for place, name, _ in self.tensors)
        return RepeatedLaunch(compiled[(programs, 1, 1)], arguments, places, self.scale, self.unit)

    @classmethod
    def of(cls, launch: Launch, common: Mapping[str, object]) -> Self:
        """Return a launch with its own arguments, and those that it has in `common` with other launches, by name."""
        spec, blocks = launch.spec, launch.blocks
        compiler = "interpreter" if interpreter.is_on() else "hip" if torch.version.hip else "cuda"
        values = {**common, **launch.arrays, **launch.numbers, "programs_per_head": launch.count}
        missing = [name for name in spec.pointers if name not in values]
        place = {name: number for number, name in enumerate(spec.arguments)}
        strides = {name: place[strides_of(name)[0]] for name in spec.tensors}
        return cls(
            launch,
            kernel(spec),
            {"num_warps": blocks.num_warps, "num_stages": blocks.num_stages, **options(compiler)},
            tuple(map(values.get, spec.arguments)),
            tuple((place[name], name, strides.get(name)) for name in missing),
            place.get("scale"),
            place.get("first_program"),
            1.0 if spec.score else LOG_2_E,
        )

    def __call__(self, programs: int, tensors: Mapping[str, Tensor], scale: float, first: int = 0) -> None:
        """Launch; raises ConfigError if the kernel's blocks need more of the GPU than there is."""
        arguments, key = self._filled(tensors, first)
        if self.scale is not None:
            arguments[self.scale] = scale * self.unit
        self._launch(programs, arguments, key)

    def _filled(self, tensors: Mapping[str, Tensor], first: int) -> tuple[list[object], tuple[object, ...] | None]:
        """Return the arguments but for the scale, and what Triton's choice of a kernel depends on, None if on more."""
        arguments = list(self.template)
        key: list[object] = [first]
        addresses = 0
        for place, name, at in self.tensors:
            arguments[place] = x = tensors[name]
            key.append(x.dtype)
            addresses |= x.data_ptr()
            if at is not None:
                arguments[at : at + 3] = strides = x.stride()[:3]
                key.append(strides)
        if self.first is not None:
            arguments[self.first] = first
        return arguments, None if addresses % ALIGNMENT else tuple(key)

    def _launch(self, programs: int, arguments: list[object], key: tuple[object, ...] | None) -> None:
        """Launch the kernel that ran for arguments of the same key: to choose it anew takes Triton 20 microseconds."""
        if key is not None and (compiled := self._compiled.get(key)) is not None:
            compiled[(programs, 1, 1)](*arguments)
            return
        chosen = self._chosen(programs, arguments)
        # the interpreter compiles nothing, and for AMD the sizes of storages matter, too
        if key is not None and isinstance(chosen, CompiledKernel) and chosen.metadata.target.backend == "cuda":
            self._compiled[key] = chosen

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
                rule="Kernels are compiled when they are first launched. This one stopped before registers or memory.",
                fix=f"If the message is about a size, choose smaller blocks; otherwise name backend='torch'. {REPORT}",
            ) from error
        except PTXASError as error:
            raise BackendError(
                f"Triton could not compile the {self.launch.spec.kernel} kernel with {self.launch.blocks}: {error}",
                rule="The kernels are compiled when they are first launched.",
                fix="Choose other blocks in `config`, or name backend='torch'.",
            ) from error


@dataclass(eq=False, slots=True)
class RepeatedLaunch:
    """A launch for tensors that lie alike, in all but their addresses."""

    run: Callable[..., object]
    arguments: list[object]
    tensors: tuple[tuple[int, str], ...]
    scale: int | None
    unit: float

    def __call__(self, tensors: Mapping[str, Tensor], scale: float) -> bool:
        """Launch; return False, and launch nothing, where an address isn't a multiple of ALIGNMENT."""
        arguments, addresses = self.arguments.copy(), 0
        for place, name in self.tensors:
            arguments[place] = x = tensors[name]
            addresses |= x.data_ptr()
        if addresses % ALIGNMENT:
            return False
        if self.scale is not None:
            arguments[self.scale] = scale * self.unit
        self.run(*arguments)
        return True


@dataclass(eq=False, slots=True)
class CallSite:
    """Calls on tensors of equal sizes, strides and dtypes.

    Attributes:
        bound: The launches of a plan for such tensors.
        interpreted: Whether Triton interprets its kernels, on a CPU.
        repeated: The launches that have run for them.
    """

    bound: BoundLaunches
    interpreted: bool
    repeated: dict[Launch, RepeatedLaunch] = field(default_factory=dict)

    def launch(self, launch: Launch, tensors: Mapping[str, Tensor], scale: float) -> None:
        """Launch one kernel, of which no program leaves sums, and keep it to be repeated."""
        call = self.bound.of(launch)
        call(launch.programs, tensors, scale)
        if (found := call.repeated(launch.programs, tensors)) is not None:
            self.repeated[launch] = found


@dataclass(frozen=True, eq=False)
class BoundLaunches:
    """The launches of a lowered plan, each bound when it is first used.

    Attributes:
        lowered: The lowered plan.
    """

    lowered: LoweredPhases
    _bound: dict[Launch, BoundLaunch] = field(default_factory=dict, repr=False)

    def of(self, launch: Launch) -> BoundLaunch:
        """Return one of the launches, bound."""
        if launch not in self._bound:
            lowered = self.lowered
            known = ((name, table) for name, table in launch.spec.tables if not table.is_placeholder)
            tables = {name: table.narrow_on(lowered.device) for name, table in known}
            common = lowered.numbers | tables | launch.constants(lowered.lowering.config.precision)
            self._bound[launch] = BoundLaunch.of(launch, common)
        return self._bound[launch]
