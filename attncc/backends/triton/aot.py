"""Ahead of time: a plan's kernels as sources that the compiler takes, for a GPU that need not be there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch

from attncc.backends.triton import reads
from attncc.backends.triton.config import Config
from attncc.backends.triton.defaults import MAX_HEAD_DIM
from attncc.backends.triton.launch import Sizes
from attncc.backends.triton.lower import NARROW, Lowering
from attncc.backends.triton.modules import path_of
from attncc.backends.triton.program import Program
from attncc.backends.triton.variants import Variant, variants
from attncc.errors import BackendError, nearest
from attncc.ir.score import ScoreExpression
from attncc.machine_code.source import Source
from attncc.planner.checks import check_score
from attncc.planner.plan import Plan
from attncc.targets import Gpu

#: Element types by the name that triton gives them, with their size in bytes.
DTYPES = {"fp16": 2, "bf16": 2, "fp32": 4}


def program(
    plan: Plan,
    gpu: Gpu,
    dtype: str,
    head_dim: int,
    *,
    value_dim: int | None = None,
    heads: int | None = None,
    kv_heads: int | None = None,
    batch: int | None = None,
    config: Mapping[str, object] | None = None,
    score: ScoreExpression | None = None,
    weighted: bool = False,
) -> Program:
    """Lower a plan for a GPU, under a score: its kernels, and the work items that they get.

    Query heads and batch entries are by default the plan's, which has one where the pattern is the same for all.
    weighted: the gradients of the score's weights are wanted, too.
    Raises BackendError for an unknown dtype or a head size that the backend doesn't take, ConfigError for `config`,
    TableError or PatternError for a score that doesn't suit the lengths.
    """
    value_dim, heads, batch = value_dim or head_dim, heads or plan.shape.heads, batch or plan.shape.batch
    kv_heads = kv_heads or heads
    sizes = _sizes(dtype, head_dim, value_dim, heads // kv_heads)
    chosen = Config.default(gpu.arch, max(head_dim, value_dim), sizes.itemsize).changed(config or {})
    far = max(plan.shape.q_len, plan.shape.kv_len) * max(head_dim, value_dim) >= NARROW
    if score is not None:
        check_score(score, plan.pattern.predicate, replace(plan.shape, heads=heads, batch=batch))
    lowering = Lowering(
        sizes,
        chosen,
        gpu.multiprocessors,
        score,
        weighted and score is not None and bool(score.lookups),
        far,
        not reads.are_pipelined(gpu.arch),
    )
    return Program(plan, lowering, batch, heads, kv_heads, torch.device("cpu"))


def _sizes(dtype: str, head_dim: int, value_dim: int, group: int) -> Sizes:
    """Return the sizes that kernels are generated for; raises BackendError for those that they aren't."""
    if dtype not in DTYPES:
        raise BackendError(
            f"dtype {dtype!r}.", rule=f"Kernels are generated for {', '.join(DTYPES)}.", fix=nearest(dtype, DTYPES)
        )
    for size in (head_dim, value_dim):
        if not 1 <= size <= MAX_HEAD_DIM:
            raise BackendError(
                f"Head size {size}.",
                rule=f"Kernels are generated for head sizes 1 to {MAX_HEAD_DIM}.",
                fix="Use more heads of a smaller size.",
            )
    return Sizes(head_dim, value_dim, DTYPES[dtype], group)


def sources(lowered: Program, dtype: str, *, backward: bool = True) -> list[tuple[Variant, Source]]:
    """Return the kernels of a program with the sources to compile them from, which lie in the kernel cache."""
    return [(each, source(each)) for each in variants(lowered, dtype, backward=backward)]


def source(variant: Variant) -> Source:
    """Return a variant as the compiler takes it; its module is written to the kernel cache."""
    return Source(
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
