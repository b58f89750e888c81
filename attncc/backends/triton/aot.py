"""Ahead of time: a plan's kernels as sources that the compiler takes, for a GPU that need not be there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from attncc.backends.inputs import Inputs
from attncc.backends.triton.config import KernelConfig
from attncc.backends.triton.defaults import largest
from attncc.backends.triton.launch import HeadShape, Launch
from attncc.backends.triton.lower import NARROW, Lowering
from attncc.backends.triton.lowered_plan import LoweredPlan
from attncc.backends.triton.modules import path_of, render
from attncc.backends.triton.signature import INDEX_ARRAYS, INPUTS, OF_VALUES, RESULTS, strides_of
from attncc.backends.triton.spec import Spec
from attncc.errors import BackendError, nearest
from attncc.ir.score import ScoreExpression
from attncc.machine_code.source import Source
from attncc.planner.checks import check_score
from attncc.planner.directions import DIRECTIONS
from attncc.planner.plan import Plan
from attncc.targets import Gpu

#: Element types that kernels are generated for, as triton names them.
DTYPES = ("fp16", "bf16", "fp32")


@dataclass(frozen=True)
class Variant:
    """One kernel as it is compiled."""

    spec: Spec
    types: tuple[tuple[str, str], ...]  # of arguments at run time, as Triton writes them: ("Q", "*bf16")
    constants: tuple[tuple[str, int | str], ...]  # compile-time constants by name
    aligned: frozenset[str]  # arguments that are divisible by 16: pointers, and strides of such rows
    num_warps: int
    num_stages: int

    @classmethod
    def of(cls, launch: Launch, dtype: str, config: KernelConfig) -> Variant:
        """Return the kernel of a launch for inputs of a dtype."""
        spec, shape = launch.spec, launch.shape
        constants: dict[str, int | str] = launch.constants(config.precision)
        types = {name: _pointer(name, launch, dtype) for name in spec.pointers}
        types |= {name: f"*{'i32' if table.is_narrow else 'i64'}" for name, table in spec.tables}
        types |= dict.fromkeys((*spec.strides, *spec.numbers), "i32")
        types |= dict.fromkeys(spec.weights, "*fp32")
        types |= {name: "*fp32" if name.startswith("sums") else "*i64" for name in spec.sum_arrays}
        if "scale" in types:
            types["scale"] = "fp32"
        if "qheads_per_kvhead" in types and shape.group_size == 1:
            del types["qheads_per_kvhead"]  # as triton does with integers that are 1
            constants["qheads_per_kvhead"] = 1
        columns = {name: shape.value_dim if name in OF_VALUES else shape.head_dim for name in spec.tensors}
        aligned = {stride for name in spec.tensors if columns[name] % 16 == 0 for stride in strides_of(name)}
        return cls(
            spec,
            tuple((name, types[name]) for name in spec.arguments if name in types),
            tuple(constants.items()),
            frozenset({*spec.pointers, *aligned}),
            launch.blocks.num_warps,
            launch.blocks.num_stages,
        )

    @property
    def source(self) -> Source:
        """The kernel as the compiler takes it; its module is written to the kernel cache."""
        return Source(
            text=render(self.spec),
            path=path_of(self.spec),
            name=self.spec.kernel,
            types=self.types,
            constants=self.constants,
            aligned=self.aligned,
            num_warps=self.num_warps,
            num_stages=self.num_stages,
        )

    @property
    def unnamed_source(self) -> Source:
        """The source without the sets in its header, so that kernels of different sets can be one."""
        return replace(self, spec=replace(self.spec, sets="")).source


def _pointer(name: str, launch: Launch, dtype: str) -> str:
    if name in INDEX_ARRAYS:
        return "*i32"
    if name in INPUTS:
        return f"*{dtype}"
    summed = launch.accumulated or launch.spec.split or (launch.spec.atomic and name == "DQ")
    return f"*{dtype}" if name in RESULTS and not summed else "*fp32"


def lower(
    plan: Plan,
    gpu: Gpu,
    inputs: Inputs,
    *,
    config: Mapping[str, object] | None = None,
    score: ScoreExpression | None = None,
    weighted: bool = False,
    latent: bool = False,
) -> LoweredPlan:
    """Lower a plan for a GPU and inputs of these sizes: its kernels, and their launches.

    Args:
        config: Choices that differ from the GPU's defaults; see attncc.backends.triton.config.
        score: The expression in the place of the scores.
        weighted: Whether the gradients of the score's weights are wanted, too.
        latent: Whether values are the first columns of their keys, in the same memory; see attncc.backends.latent.

    Raises:
        BackendError: The backend doesn't take the dtype or a head size.
        ConfigError: `config` has an unknown key or a bad value.
        TableError, PatternError: The score doesn't suit the lengths.
    """
    shape, widest = _shape(inputs, gpu), max(inputs.head_dim, inputs.value_dim)
    if score is not None:
        check_score(score, plan.pattern, replace(plan.shape, heads=inputs.heads, batch=inputs.batch))
    lowering = Lowering.on(
        gpu.arch,
        gpu.multiprocessors,
        shape,
        config or {},
        score=score,
        weighted=weighted and score is not None and bool(score.lookups),
        latent=latent,
        far=max(plan.shape.q_len, plan.shape.kv_len) * widest >= NARROW,
    )
    return LoweredPlan(plan, lowering, inputs.batch, inputs.heads, inputs.kv_heads, torch.device("cpu"))


def _shape(inputs: Inputs, gpu: Gpu) -> HeadShape:
    """Return the sizes that kernels are generated for; raises BackendError for those that they aren't."""
    if inputs.dtype not in DTYPES:
        raise BackendError(
            f"dtype {inputs.dtype!r}.",
            rule=f"Kernels are generated for {', '.join(DTYPES)}.",
            fix=nearest(inputs.dtype, DTYPES),
        )
    most = largest(gpu.arch, inputs.itemsize)
    for size in (inputs.head_dim, inputs.value_dim):
        if size > most:
            raise BackendError(
                f"Head size {size}.",
                rule=f"Kernels in {inputs.dtype} fit {gpu.arch} with head sizes 1 to {most}.",
                fix="Use more heads of a smaller size, or 16-bit inputs where these are 32-bit ones.",
            )
    return HeadShape(inputs.head_dim, inputs.value_dim, inputs.itemsize, inputs.group)


def variants(lowered: LoweredPlan, dtype: str, *, backward: bool = True) -> list[Variant]:
    """Return the kernels of a lowered plan, each once, for inputs of a dtype ("bf16", "fp16" or "fp32")."""
    config = lowered.lowering.config
    launches = (launch for way in DIRECTIONS[: 1 + backward] for launch in lowered.launches(way))
    return list(dict.fromkeys(Variant.of(launch, dtype, config) for launch in launches))
