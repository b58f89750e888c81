"""The operators around executables, as torch.library has them: differentiable, and opaque to torch.compile.

`attention` and `weighted_attention` differ only in the list of a score's weights; a list costs every call time, so
that attention without weights has an operator of its own. Patterns and scores are named by handle and key.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import is_gradtrackingtensor
from torch.autograd.forward_ad import unpack_dual

from attncc.backends.base import accumulation_dtype
from attncc.errors import AttnccError
from attncc.executables import executable_for
from attncc.ir.score import by_key
from attncc.patterns import by_handle


@torch.library.custom_op("attncc::attention", mutates_args=())
def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    pattern: str,
    score: str,
    scale: float,
    q_offset: int,
    backend: str,
    config: str,
) -> tuple[Tensor, Tensor]:
    """Return (out, lse), see attncc.backends.base.Executable."""
    found = executable_for(query, key, value, "forward", pattern, score, q_offset, backend, config)
    return found.forward(query, key, value, (), scale)


@torch.library.custom_op("attncc::weighted_attention", mutates_args=())
def weighted_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    weights: Sequence[Tensor],
    pattern: str,
    score: str,
    scale: float,
    q_offset: int,
    backend: str,
    config: str,
) -> tuple[Tensor, Tensor]:
    """Return (out, lse) under a score that looks `weights` up."""
    found = executable_for(query, key, value, "forward", pattern, score, q_offset, backend, config)
    return found.forward(query, key, value, weights, scale)


@torch.library.custom_op("attncc::attention_backward", mutates_args=())
def _attention_backward(
    grad_out: Tensor,
    grad_lse: Tensor | None,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    out: Tensor,
    lse: Tensor,
    pattern: str,
    score: str,
    scale: float,
    q_offset: int,
    backend: str,
    config: str,
) -> tuple[Tensor, Tensor, Tensor]:
    found = executable_for(query, key, value, "backward", pattern, score, q_offset, backend, config)
    gradients = found.backward(grad_out, grad_lse, query, key, value, (), out, lse, scale, False)
    return gradients.query, gradients.key, gradients.value


@torch.library.custom_op("attncc::weighted_attention_backward", mutates_args=())
def _weighted_attention_backward(
    grad_out: Tensor,
    grad_lse: Tensor | None,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    weights: Sequence[Tensor],
    out: Tensor,
    lse: Tensor,
    with_weights: bool,
    pattern: str,
    score: str,
    scale: float,
    q_offset: int,
    backend: str,
    config: str,
) -> list[Tensor]:
    found = executable_for(query, key, value, "backward", pattern, score, q_offset, backend, config)
    d_query, d_key, d_value, d_weights = found.backward(
        grad_out, grad_lse, query, key, value, weights, out, lse, scale, with_weights
    )
    return [d_query, d_key, d_value, *d_weights]


@attention.register_fake
@weighted_attention.register_fake
def _(query: Tensor, key: Tensor, value: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    out = query.new_empty(*query.shape[:-1], value.shape[-1])
    return out, query.new_empty(query.shape[:-1], dtype=accumulation_dtype(query.dtype))


@_attention_backward.register_fake
def _(
    grad_out: Tensor, grad_lse: Tensor | None, query: Tensor, key: Tensor, value: Tensor, *rest: Any
) -> tuple[Tensor, Tensor, Tensor]:
    d_query, d_key, d_value = (x.new_empty(x.shape) for x in (query, key, value))
    return d_query, d_key, d_value


@_weighted_attention_backward.register_fake
def _(
    grad_out: Tensor,
    grad_lse: Tensor | None,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    weights: Sequence[Tensor],
    out: Tensor,
    lse: Tensor,
    with_weights: bool,
    *rest: Any,
) -> list[Tensor]:
    return [x.new_empty(x.shape) for x in (query, key, value, *(weights if with_weights else ()))]


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    query, key, value, *options = inputs
    _keep(ctx, options)
    ctx.save_for_backward(query, key, value, *output)


def _save_weighted(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    query, key, value, weights, *options = inputs
    _keep(ctx, options)
    ctx.save_for_backward(query, key, value, *output, *weights)


def _keep(ctx: Any, options: list[Any]) -> None:
    ctx.options = options
    ctx.kept = by_handle(options[0]), by_key(options[1])  # alive until the backward, which names them
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, grad_out: Tensor | None, grad_lse: Tensor | None) -> tuple[Any, ...]:
    query, key, value, out, lse = ctx.saved_tensors
    grad_out = torch.zeros_like(out) if grad_out is None else grad_out
    gradients = _attention_backward(grad_out, grad_lse, query, key, value, out, lse, *ctx.options)
    return *gradients, *(None for _ in ctx.options)


def _weighted_backward(ctx: Any, grad_out: Tensor | None, grad_lse: Tensor | None) -> tuple[Any, ...]:
    query, key, value, out, lse, *weights = ctx.saved_tensors
    grad_out = torch.zeros_like(out) if grad_out is None else grad_out
    with_weights = any(ctx.needs_input_grad[3])
    d_query, d_key, d_value, *d_weights = _weighted_attention_backward(
        grad_out, grad_lse, query, key, value, weights, out, lse, with_weights, *ctx.options
    )
    per_slot = d_weights if with_weights else [None] * len(weights)
    return d_query, d_key, d_value, per_slot, *(None for _ in ctx.options)


def check_transforms(*tensors: Tensor) -> None:
    """Raise AttnccError under what an operator can't follow: forward mode, whose tangents it drops without a word, and
    torch.func's reverse mode."""
    if any(unpack_dual(x).tangent is not None for x in tensors):  # type: ignore[no-untyped-call]
        raise AttnccError(
            "attncc.attention was differentiated in forward mode (torch.func.jvp, torch.autograd.forward_ad).",
            rule="attncc has first derivatives in reverse mode only.",
            fix="Use torch.autograd.grad or .backward().",
        )
    if not torch.compiler.is_compiling() and any(is_gradtrackingtensor(x) for x in tensors):
        raise AttnccError(
            "attncc.attention was differentiated by a transform of torch.func (grad, vjp, jacrev, hessian).",
            rule="Its gradients are autograd's: first derivatives, in reverse mode.",
            fix="Use torch.autograd.grad or .backward(); a function's are torch.autograd.functional.vjp and jacobian.",
        )


def refuse_double_backward(ctx: Any, *gradients: Any) -> None:
    """Raise AttnccError: the backward of a gradient."""
    raise AttnccError(
        "The gradient of attention was differentiated again.",
        rule="attncc has first derivatives only.",
        fix="Use backend-free dense attention (scaled_dot_product_attention) where second derivatives are needed.",
    )


def _vmap(*arguments: Any) -> None:
    raise AttnccError(
        "attncc.attention was called under torch.vmap.",
        rule="Batch entries are the first dimension of query, key and value.",
        fix="Put the mapped dimension into B (or into H, for a pattern without h).",
    )


attention.register_autograd(_backward, setup_context=_save)
weighted_attention.register_autograd(_weighted_backward, setup_context=_save_weighted)
for _operator in (_attention_backward, _weighted_attention_backward):
    _operator.register_autograd(refuse_double_backward)
for _operator in (attention, weighted_attention, _attention_backward, _weighted_attention_backward):
    _operator.register_vmap(_vmap)
