"""Ahead of time: a plan's kernels as sources that the compiler takes, for a GPU that need not be there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch

from attncc.backends.inputs import Inputs
from attncc.backends.triton import reads
from attncc.backends.triton.config import Config
from attncc.backends.triton.defaults import MAX_HEAD_DIM
from attncc.backends.triton.launch import Sizes
from attncc.backends.triton.lower import NARROW, Lowering
from attncc.backends.triton.modules import path_of
from attncc.backends.triton.program import Program
from attncc.backends.triton.source import render
from attncc.backends.triton.variants import Variant, variants
from attncc.errors import BackendError, nearest
from attncc.ir.score import ScoreExpression
from attncc.machine_code.source import Source
from attncc.planner.checks import check_score
from attncc.planner.plan import Plan
from attncc.targets import Gpu

#: Element types that kernels are generated for, as triton names them.
DTYPES = ("fp16", "bf16", "fp32")


def program(
    plan: Plan,
    gpu: Gpu,
    inputs: Inputs,
    *,
    config: Mapping[str, object] | None = None,
    score: ScoreExpression | None = None,
    weighted: bool = False,
) -> Program:
    """Lower a plan for a GPU and inputs of these sizes, under a score: its kernels, and the work items that they get.

    weighted: the gradients of the score's weights are wanted, too.
    Raises BackendError for a dtype or a head size that the backend doesn't take, ConfigError for `config`, and
    TableError or PatternError for a score that doesn't suit the lengths.
    """
    sizes, widest = _sizes(inputs), max(inputs.head_dim, inputs.value_dim)
    chosen = Config.default(gpu.arch, widest, sizes.itemsize).changed(config or {})
    far = max(plan.shape.q_len, plan.shape.kv_len) * widest >= NARROW
    if score is not None:
        check_score(score, plan.pattern.predicate, replace(plan.shape, heads=inputs.heads, batch=inputs.batch))
    lowering = Lowering(
        sizes,
        chosen,
        gpu.multiprocessors,
        score,
        weighted and score is not None and bool(score.lookups),
        far,
        not reads.are_pipelined(gpu.arch),
    )
    return Program(plan, lowering, inputs.batch, inputs.heads, inputs.kv_heads, torch.device("cpu"))


def _sizes(inputs: Inputs) -> Sizes:
    """Return the sizes that kernels are generated for; raises BackendError for those that they aren't."""
    if inputs.dtype not in DTYPES:
        raise BackendError(
            f"dtype {inputs.dtype!r}.",
            rule=f"Kernels are generated for {', '.join(DTYPES)}.",
            fix=nearest(inputs.dtype, DTYPES),
        )
    for size in (inputs.head_dim, inputs.value_dim):
        if size > MAX_HEAD_DIM:
            raise BackendError(
                f"Head size {size}.",
                rule=f"Kernels are generated for head sizes 1 to {MAX_HEAD_DIM}.",
                fix="Use more heads of a smaller size.",
            )
    return Sizes(inputs.head_dim, inputs.value_dim, inputs.itemsize, inputs.group)


def sources(lowered: Program, dtype: str, *, backward: bool = True) -> list[tuple[Variant, Source]]:
    """Return the kernels of a program with the sources to compile them from, which lie in the kernel cache."""
    return [(each, source(each)) for each in variants(lowered, dtype, backward=backward)]


def source(variant: Variant) -> Source:
    """Return a variant as the compiler takes it; its module is written to the kernel cache."""
    return Source(
        text=render(variant.spec),
        path=path_of(variant.spec),
        name=variant.spec.kernel,
        types=variant.types,
        constants=variant.constants,
        aligned=variant.aligned,
        num_warps=variant.num_warps,
        num_stages=variant.num_stages,
    )


def unnamed_source(variant: Variant) -> Source:
    """Return a variant's source without the sets in its header, so that kernels of different sets can be one."""
    return source(replace(variant, spec=replace(variant.spec, sets="")))
