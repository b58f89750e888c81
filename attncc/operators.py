"""The operators around executables, as torch.library has them: differentiable, and opaque to torch.compile.

`attention` and `weighted_attention` differ only in the list of a score's weights; a list costs every call time, so
that attention without weights has an operator of its own. Patterns and scores are named by handle and key.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from attncc.backends.base import Gradients, Saved, accumulation_dtype
from attncc.errors import AttnccError
from attncc.executables import Call, executable_for
from attncc.ir.score import by_key
from attncc.patterns import by_handle

#: What operators take, as their schemas say it; _CALL are the fields of attncc.executables.Call.
_TENSORS = "Tensor query, Tensor key, Tensor value"
_CALL = "str pattern, str score, SymInt q_offset, str backend, str config"
_GRADIENTS = "Tensor grad_out, Tensor? grad_lse"


#: Operators of torch.library.custom_op would check every result against every input, which takes as long as the rest.
_LIBRARY = torch.library.Library("attncc", "DEF")  # type: ignore[no-untyped-call]


def _hidden(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that torch.compile doesn't look into.

    Saying so imports torch._dynamo, which takes seconds: only a process that has it anyway does.
    """

    @cache
    def disabled() -> Callable[..., Any]:
        return torch.compiler.disable(function)  # type: ignore[no-untyped-call,no-any-return]

    def call(*arguments: Any) -> Any:
        return (disabled() if "torch._dynamo" in sys.modules else function)(*arguments)

    return call


def _operator(name: str, takes: str, returns: str) -> Callable[[Callable[..., Any]], Any]:
    """Define an operator (decorator); its results share no memory with what it takes, nor with each other."""

    def define(function: Callable[..., Any]) -> Any:
        _LIBRARY.define(f"{name}({takes}) -> {returns}", tags=torch.Tag.pt2_compliant_tag)  # type: ignore[no-untyped-call]
        _LIBRARY.impl(name, _hidden(function), "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]
        return getattr(torch.ops.attncc, name).default

    return define


@_operator("attention", f"{_TENSORS}, float scale, {_CALL}", "(Tensor, Tensor)")
def attention(query: Tensor, key: Tensor, value: Tensor, scale: float, *call: Any) -> tuple[Tensor, Tensor]:
    """Return (out, lse), see attncc.backends.base.Executable; `call` are the fields of a Call."""
    return executable_for(query, key, value, "forward", Call(*call)).forward(query, key, value, (), scale)


@_operator("weighted_attention", f"{_TENSORS}, Tensor[] weights, float scale, {_CALL}", "(Tensor, Tensor)")
def weighted_attention(
    query: Tensor, key: Tensor, value: Tensor, weights: Sequence[Tensor], scale: float, *call: Any
) -> tuple[Tensor, Tensor]:
    """Return (out, lse) under a score that looks `weights` up."""
    return executable_for(query, key, value, "forward", Call(*call)).forward(query, key, value, weights, scale)


@_operator(
    "attention_backward",
    f"{_GRADIENTS}, {_TENSORS}, Tensor out, Tensor lse, float scale, {_CALL}",
    "(Tensor, Tensor, Tensor)",
)
def _attention_backward(grad_out: Tensor, grad_lse: Tensor | None, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    saved, (scale, *call) = Saved.of(rest[:5]), rest[5:]
    d_query, d_key, d_value, _ = _gradients(saved, grad_out, grad_lse, scale, Call(*call), False)
    return d_query, d_key, d_value


@_operator(
    "weighted_attention_backward",
    f"{_GRADIENTS}, Tensor[] tensors, bool with_weights, float scale, {_CALL}",
    "Tensor[]",
)
def _weighted_attention_backward(
    grad_out: Tensor, grad_lse: Tensor | None, tensors: Sequence[Tensor], with_weights: bool, scale: float, *call: Any
) -> list[Tensor]:
    saved = Saved.of(tensors)
    d_query, d_key, d_value, d_weights = _gradients(saved, grad_out, grad_lse, scale, Call(*call), with_weights)
    return [d_query, d_key, d_value, *d_weights]


def _gradients(
    saved: Saved, grad_out: Tensor, grad_lse: Tensor | None, scale: float, call: Call, with_weights: bool
) -> Gradients:
    found = executable_for(saved.query, saved.key, saved.value, "backward", call)
    return found.backward(saved, grad_out, grad_lse, scale, with_weights)


def _like_outputs(query: Tensor, key: Tensor, value: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    out = query.new_empty(*query.shape[:-1], value.shape[-1])
    return out, query.new_empty(query.shape[:-1], dtype=accumulation_dtype(query.dtype))


def _like_gradients(
    grad_out: Tensor, grad_lse: Tensor | None, query: Tensor, key: Tensor, value: Tensor, *rest: Any
) -> tuple[Tensor, Tensor, Tensor]:
    d_query, d_key, d_value = (x.new_empty(x.shape) for x in (query, key, value))
    return d_query, d_key, d_value


def _like_weighted_gradients(
    grad_out: Tensor, grad_lse: Tensor | None, tensors: Sequence[Tensor], with_weights: bool, *rest: Any
) -> list[Tensor]:
    saved = Saved.of(tensors)
    wanted = (saved.query, saved.key, saved.value, *(saved.weights if with_weights else ()))
    return [x.new_empty(x.shape) for x in wanted]


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    query, key, value, scale, *call = inputs
    _keep(ctx, Saved(query, key, value, (), *output), scale, Call(*call))


def _save_weighted(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    query, key, value, weights, scale, *call = inputs
    _keep(ctx, Saved(query, key, value, weights, *output), scale, Call(*call))


def _keep(ctx: Any, saved: Saved, scale: float, call: Call) -> None:
    ctx.save_for_backward(*saved.tensors)
    ctx.options = (scale, *call)
    ctx.kept = by_handle(call.pattern), by_key(call.score)  # alive until the backward, which names them
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, grad_out: Tensor | None, grad_lse: Tensor | None) -> tuple[Any, ...]:
    gradients = _attention_backward(_gradient_of_out(ctx, grad_out), grad_lse, *ctx.saved_tensors, *ctx.options)
    return *gradients, *(None for _ in ctx.options)


def _weighted_backward(ctx: Any, grad_out: Tensor | None, grad_lse: Tensor | None) -> tuple[Any, ...]:
    with_weights, tensors = any(ctx.needs_input_grad[3]), list(ctx.saved_tensors)
    d_query, d_key, d_value, *d_weights = _weighted_attention_backward(
        _gradient_of_out(ctx, grad_out), grad_lse, tensors, with_weights, *ctx.options
    )
    per_slot = d_weights if with_weights else [None] * len(Saved.of(tensors).weights)
    return d_query, d_key, d_value, per_slot, *(None for _ in ctx.options)


def _gradient_of_out(ctx: Any, given: Tensor | None) -> Tensor:
    return torch.zeros_like(Saved.of(ctx.saved_tensors).out) if given is None else given


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


def _complete(
    operator: Any, fake: Callable[..., Any], backward: Callable[..., Any], setup: Callable[..., Any] | None = None
) -> None:
    """Register what an operator's outputs look like, its derivative, and that it can't be mapped."""
    torch.library.register_fake(operator, fake, lib=_LIBRARY)
    torch.library.register_autograd(operator, backward, setup_context=setup, lib=_LIBRARY)
    torch.library.register_vmap(operator, _vmap, lib=_LIBRARY)


_complete(attention, _like_outputs, _backward, _save)
_complete(weighted_attention, _like_outputs, _weighted_backward, _save_weighted)
_complete(_attention_backward, _like_gradients, refuse_double_backward)
_complete(_weighted_attention_backward, _like_weighted_gradients, refuse_double_backward)
