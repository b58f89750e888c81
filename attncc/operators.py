"""The operators around executables, as torch.library has them: differentiable, and opaque to torch.compile.

`weighted_attention` is attention under a score: it takes the list of its weights, and returns the remainder of lse,
too. Both cost every call time, so that attention without a score has an operator of its own. Patterns and scores are
named by handle and key.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from attncc.backends.base import Gradients, Saved, accumulation_dtype
from attncc.backends.logsum import LogSum
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
    out, lse = executable_for(query, key, value, "forward", Call(*call)).forward(query, key, value, (), scale)
    return out, lse.value


@_operator("weighted_attention", f"{_TENSORS}, Tensor[] weights, float scale, {_CALL}", "(Tensor, Tensor, Tensor)")
def weighted_attention(
    query: Tensor, key: Tensor, value: Tensor, weights: Sequence[Tensor], scale: float, *call: Any
) -> tuple[Tensor, Tensor, Tensor]:
    """Return (out, lse, its remainder) under a score that looks `weights` up, if it has any."""
    out, lse = executable_for(query, key, value, "forward", Call(*call)).forward(query, key, value, weights, scale)
    return out, lse.value, lse.rest


@_operator(
    "attention_backward",
    f"{_GRADIENTS}, {_TENSORS}, Tensor out, Tensor lse, float scale, {_CALL}",
    "(Tensor, Tensor, Tensor)",
)
def _attention_backward(grad_out: Tensor, grad_lse: Tensor | None, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    saved, (scale, *call) = _saved(rest[:5]), rest[5:]
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
    saved = _saved(tensors)
    d_query, d_key, d_value, d_weights = _gradients(saved, grad_out, grad_lse, scale, Call(*call), with_weights)
    return [d_query, d_key, d_value, *d_weights]


def _saved(tensors: Sequence[Tensor]) -> Saved:
    """Return what a forward left: query, key, value, out and lse, and under a score its remainder and the weights."""
    query, key, value, out, lse, *rest = tensors
    return Saved(query, key, value, rest[1:], out, LogSum(lse, *rest[:1]))


def _gradients(
    saved: Saved, grad_out: Tensor, grad_lse: Tensor | None, scale: float, call: Call, with_weights: bool
) -> Gradients:
    found = executable_for(saved.query, saved.key, saved.value, "backward", call)
    return found.backward(saved, grad_out, grad_lse, scale, with_weights)


def _like_outputs(query: Tensor, key: Tensor, value: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    out = query.new_empty(*query.shape[:-1], value.shape[-1])
    return out, query.new_empty(query.shape[:-1], dtype=accumulation_dtype(query.dtype))


def _like_weighted_outputs(query: Tensor, key: Tensor, value: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    out, lse = _like_outputs(query, key, value)
    return out, lse, lse.new_empty(lse.shape)


def _like_gradients(
    grad_out: Tensor, grad_lse: Tensor | None, query: Tensor, key: Tensor, value: Tensor, *rest: Any
) -> tuple[Tensor, Tensor, Tensor]:
    d_query, d_key, d_value = (x.new_empty(x.shape) for x in (query, key, value))
    return d_query, d_key, d_value


def _like_weighted_gradients(
    grad_out: Tensor, grad_lse: Tensor | None, tensors: Sequence[Tensor], with_weights: bool, *rest: Any
) -> list[Tensor]:
    saved = _saved(tensors)
    wanted = (saved.query, saved.key, saved.value, *(saved.weights if with_weights else ()))
    return [x.new_empty(x.shape) for x in wanted]


class _Attend(torch.autograd.Function):
    """Attention with its derivative: of (operator, scale, *call), query, key, value and a score's weights.

    torch.library.register_autograd would do, but takes longer for a call than all else that the host does.
    """

    @staticmethod
    def forward(ctx: Any, options: tuple[Any, ...], *tensors: Tensor) -> tuple[Tensor, ...]:
        out, *lse = _below_autograd(options, *tensors)
        (query, key, value, *weights), call = tensors, Call(*options[2:])
        ctx.save_for_backward(query, key, value, out, *lse, *weights)
        ctx.options = options
        ctx.kept = by_handle(call.pattern), by_key(call.score)  # alive until the backward, which names them
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*lse[1:])
        return out, *lse

    @staticmethod
    def backward(ctx: Any, grad_out: Tensor | None, grad_lse: Tensor | None, *of_rest: None) -> tuple[Any, ...]:
        operator, *options = ctx.options
        tensors = ctx.saved_tensors
        grad_out = torch.zeros_like(tensors[3]) if grad_out is None else grad_out
        if operator is attention:
            return None, *_attention_backward(grad_out, grad_lse, *tensors, *options)
        with_weights = any(ctx.needs_input_grad[4:])
        found = _weighted_attention_backward(grad_out, grad_lse, tensors, with_weights, *options)
        return None, *found, *(() if with_weights else (None,) * len(ctx.needs_input_grad[4:]))


def _below_autograd(options: tuple[Any, ...], query: Tensor, key: Tensor, value: Tensor, *weights: Tensor) -> Any:
    operator, *rest = options
    with torch._C._AutoDispatchBelowADInplaceOrView():
        if operator is attention:
            return attention(query, key, value, *rest)
        return weighted_attention(query, key, value, weights, *rest)


def _differentiable(options: tuple[Any, ...], *tensors: Tensor) -> Any:
    wanted = torch.is_grad_enabled() and any(x.requires_grad for x in tensors)
    return _Attend.apply(options, *tensors) if wanted else _below_autograd(options, *tensors)  # type: ignore[no-untyped-call]


def composite_attention(
    query: Tensor, key: Tensor, value: Tensor, weights: Sequence[Tensor], scale: float, call: Call
) -> tuple[Tensor, Tensor]:
    """Return (out, lse) by a composite backend's own operations: autograd and torch's transforms go through them."""
    out, lse = executable_for(query, key, value, "forward", call).forward(query, key, value, weights, scale)
    return out, lse.value


def refuse_double_backward(ctx: Any, *gradients: Any) -> None:
    """Raise AttnccError: the backward of a gradient."""
    raise AttnccError(
        "The gradient of attention was differentiated again.",
        rule="Backends have first derivatives only, but for the reference, whose operations are torch's own.",
        fix="Pass backend='reference' where second derivatives are needed: it is dense attention under the mask.",
    )


def _vmap(*arguments: Any) -> None:
    raise AttnccError(
        "attncc.attention was called under torch.vmap.",
        rule="Batch entries are the first dimension of query, key and value.",
        fix="Put the mapped dimension into B (or into H, for a pattern without h), or pass backend='reference'.",
    )


for _each, _fake in (
    (attention, _like_outputs),
    (weighted_attention, _like_weighted_outputs),
    (_attention_backward, _like_gradients),
    (_weighted_attention_backward, _like_weighted_gradients),
):
    torch.library.register_fake(_each, _fake, lib=_LIBRARY)
    torch.library.register_vmap(_each, _vmap, lib=_LIBRARY)
for _each in (_attention_backward, _weighted_attention_backward):
    torch.library.register_autograd(_each, refuse_double_backward, lib=_LIBRARY)


@partial(_LIBRARY.impl, "attention", dispatch_key="Autograd")
def _(query: Tensor, key: Tensor, value: Tensor, *options: Any) -> Any:
    return _differentiable((attention, *options), query, key, value)


@partial(_LIBRARY.impl, "weighted_attention", dispatch_key="Autograd")
def _(query: Tensor, key: Tensor, value: Tensor, weights: Sequence[Tensor], *options: Any) -> Any:
    return _differentiable((weighted_attention, *options), query, key, value, *weights)
