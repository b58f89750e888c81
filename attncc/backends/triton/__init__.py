"""The triton backend: generated block-sparse kernels, forward and backward; the default on a GPU."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from attncc.backends.base import Backend
from attncc.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

    from attncc.backends.choices import Value
    from attncc.backends.inputs import Inputs
    from attncc.backends.triton.config import KernelConfig
    from attncc.backends.triton.execute import TritonExecutable, TritonPrepared
    from attncc.backends.triton.lowered_plan import LoweredPlan
    from attncc.backends.triton.model import DirectionEstimate
    from attncc.ir.score import ScoreExpression
    from attncc.machine_code.compiled import Compiled
    from attncc.machine_code.source import Source
    from attncc.planner.plan import Plan
    from attncc.planner.preparation import PreparedPattern
    from attncc.targets import Gpu, Target

#: The dtypes of inputs, as torch prints them.
DTYPES = ("torch.float16", "torch.bfloat16", "torch.float32")


@cache
def _least() -> KernelConfig:
    """Return blocks that any GPU takes."""
    from attncc.backends.triton.config import KernelConfig
    from attncc.backends.triton.defaults import ANY, MAX_HEAD_DIM

    return KernelConfig.default(ANY, MAX_HEAD_DIM, 4)


@dataclass(frozen=True)
class TritonKernels:
    """The kernels of a lowered plan for a GPU; see attncc.backends.base.LoweredKernels."""

    lowered: LoweredPlan
    gpu: Gpu
    dtype: str

    def sources(self, direction: str) -> list[Source]:
        """Return the sources of a direction's kernels; they lie in the kernel cache."""
        from attncc.backends.triton import model

        return model.sources(self.lowered, self.dtype, direction)

    def modelled(self, direction: str, compiled: Mapping[Source, Compiled]) -> DirectionEstimate:
        """Return how long a direction's compiled kernels take."""
        from attncc.backends.triton import model

        return model.modelled(self.lowered, direction, self.gpu, self.dtype, compiled)


class TritonBackend(Backend):
    """Generates kernels for each pass, and launches them on its work items."""

    name = "triton"
    tile = (128, 64)
    device_types = ("cuda",)
    packages = ("triton",)
    compiles = True
    keeps_apart = True

    @property
    def expected_error(self) -> float:
        """The relative error of the model, where published figures are at hand."""
        from attncc.backends.triton.model import EXPECTED_ERROR

        return EXPECTED_ERROR

    @property
    def choices(self) -> Mapping[str, str | None]:
        """The names of all choices, each with the direction that it concerns, None for both."""
        from attncc.backends.choices import names
        from attncc.backends.triton.config import DIRECTIONS

        return {name: DIRECTIONS.get(name.partition(".")[0]) for name in names(_least())}

    def unavailable(self) -> str | None:
        """Return why no kernel can run on this machine: triton is missing, or a GPU; None if kernels run."""
        if importlib.util.find_spec("triton") is None:
            return "triton is not installed"
        import torch

        from attncc.backends.triton import interpreter

        if not torch.cuda.is_available() and not interpreter.is_on():
            return "there is no GPU (TRITON_INTERPRET=1 runs its kernels on the CPU, slowly)"
        return None

    def refuses(self, query: Tensor, value: Tensor) -> str | None:
        """Return why the backend doesn't take the tensors: their dtype, head size or device; None if it does."""
        from attncc.backends.device import architecture
        from attncc.backends.triton import defaults, interpreter

        if str(query.dtype) not in DTYPES:
            return f"it computes in {', '.join(DTYPES)}, not in {query.dtype}"
        arch, head_dim = architecture(query.device) or defaults.ANY, max(query.shape[-1], value.shape[-1])
        if head_dim > (largest := defaults.largest(arch, query.element_size())):
            return f"its head sizes on {arch} in {query.dtype} are 1 to {largest}, not {head_dim}"
        if query.device.type != "cuda" and not interpreter.is_on():
            return f"it runs on GPUs, not on {query.device} (unless TRITON_INTERPRET=1)"
        return None

    def lower(self, plan: Plan, score: ScoreExpression, config: Mapping[str, object]) -> TritonExecutable:
        """Return the executable; see attncc.backends.triton.config for the keys of `config`."""
        self.check(config)
        from attncc.backends.triton.execute import TritonExecutable  # needs triton, which not every system has

        return TritonExecutable(plan, score, config)

    def prepare(self, pattern: PreparedPattern, score: ScoreExpression, config: Mapping[str, object]) -> TritonPrepared:
        """Return what binds tables on their device; see attncc.backends.base.Backend."""
        self.check(config)
        from attncc.backends.triton.execute import TritonPrepared

        return TritonPrepared(pattern, score, config)

    def default(self, inputs: Inputs, target: Target) -> Mapping[str, Value]:
        """Return the default blocks of a target; raises ConfigError for inputs that have none."""
        from attncc.backends.choices import values
        from attncc.backends.triton.config import KernelConfig
        from attncc.backends.triton.defaults import ANY, BITS, largest

        arch = target.gpu.arch if target.gpu else ANY
        head_dim, is_known = max(inputs.head_dim, inputs.value_dim), 8 * inputs.itemsize <= max(BITS)
        if not is_known or head_dim > largest(arch, inputs.itemsize):
            most = f" to {largest(arch, inputs.itemsize)} in {inputs.dtype} on {arch}" if is_known else ""
            raise ConfigError(
                f"{inputs.dtype} with head size {head_dim}.",
                rule=f"triton takes elements of {' or '.join(map(str, BITS))} bits, and heads{most}.",
                fix="Tune another backend.",
            )
        return values(KernelConfig.default(arch, head_dim, inputs.itemsize))

    def check(self, config: Mapping[str, object]) -> None:
        """Raise ConfigError for an unknown key or bad value."""
        _least().changed(config)

    def predict(
        self, plan: Plan, inputs: Inputs, direction: str, config: Mapping[str, object], target: Target
    ) -> float:
        """Return the roofline of attncc.backends.triton.model; raises ConfigError for a target that isn't a GPU."""
        from attncc.backends.triton.model import roofline

        kernels = self.lower_kernels(plan, None, config, inputs, target, False)
        return roofline(kernels.lowered, direction, kernels.gpu, inputs.dtype)

    def lower_kernels(
        self,
        plan: Plan,
        score: ScoreExpression | None,
        config: Mapping[str, object],
        inputs: Inputs,
        target: Target,
        with_weights: bool,
    ) -> TritonKernels:
        """Return the kernels; raises ConfigError for a target that isn't a GPU, and the errors of aot.lower."""
        from attncc.backends.triton import aot
        from attncc.targets import gpu as find_gpu

        gpu = target.gpu or find_gpu(target.name)
        lowered = aot.lower(plan, gpu, inputs, config=config, score=score, weighted=with_weights)
        return TritonKernels(lowered, gpu, inputs.dtype)


BACKEND = TritonBackend()
