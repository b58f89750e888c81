"""The functions of attncc's operators, opaque to torch.compile; attncc.runtime.library registers them.

A call names pattern and score by handle and key, or holds their texts (attncc.runtime.export).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from operator import attrgetter
from typing import Any, NamedTuple

import torch
from torch import Tensor

from attncc._util.tracing import hidden
from attncc.backends.accumulation import accumulation_dtype
from attncc.backends.base import Gradients, Saved
from attncc.backends.logsum import LogSum
from attncc.errors import AttnccError
from attncc.runtime import export
from attncc.runtime.call import AttentionCall
from attncc.runtime.eager import is_eager
from attncc.runtime.executables import executable_for, max_scores_for


def attention(query: Tensor, key: Tensor, value: Tensor, scale: float, *operands: Any) -> tuple[Tensor, Tensor]:
    """Return (out, lse), see attncc.backends.base.Executable; `operands` are those of an AttentionCall."""
    executable = executable_for(query, key, value, "forward", AttentionCall(*operands))
    out, lse = executable.forward(query, key, value, (), scale)
    return out, lse.value


def general_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    weights: Sequence[Tensor] | None,
    tables: Sequence[Tensor] | None,
    scale: float,
    *operands: Any,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return (out, lse, its remainder) under a score that looks `weights` up; an exported call looks `tables` up.

    A list without tensors is None where a model that was compiled ahead of time calls.
    """
    call, _alive = export.resolved(AttentionCall(*operands), tables or ())
    executable = executable_for(query, key, value, "forward", call)
    out, lse = executable.forward(query, key, value, weights or (), scale)
    return out, lse.value, lse.rest


def max_scores(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    weights: Sequence[Tensor] | None,
    tables: Sequence[Tensor] | None,
    scale: float,
    *operands: Any,
) -> Tensor:
    """Return the greatest score of each row, see attncc.backends.base.FindsMaxScores; lists as in general_attention."""
    call, _alive = export.resolved(AttentionCall(*operands), tables or ())
    return max_scores_for(query, key, value, call).max_scores(query, key, weights or (), scale)


def attention_backward(grad_out: Tensor, grad_lse: Tensor | None, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of query, key and value."""
    saved, (scale, *operands) = _saved(rest[:5]), rest[5:]
    d_query, d_key, d_value, _ = _gradients(saved, grad_out, grad_lse, scale, AttentionCall(*operands), False)
    return d_query, d_key, d_value


def general_attention_backward(
    grad_out: Tensor,
    grad_lse: Tensor | None,
    tensors: Sequence[Tensor],
    tables: Sequence[Tensor],
    with_weights: bool,
    scale: float,
    *operands: Any,
) -> list[Tensor]:
    """Return the gradients of query, key and value, and `with_weights` of the score's weights."""
    saved = _saved(tensors)
    call, _alive = export.resolved(AttentionCall(*operands), tables)
    d_query, d_key, d_value, d_weights = _gradients(saved, grad_out, grad_lse, scale, call, with_weights)
    return [d_query, d_key, d_value, *d_weights]


def _saved(tensors: Sequence[Tensor]) -> Saved:
    """Return what a forward saved: query, key, value, out, lse, and under a score lse's remainder and the weights."""
    query, key, value, out, lse, *rest = tensors
    return Saved(query, key, value, rest[1:], out, LogSum(lse, *rest[:1]))


def _gradients(
    saved: Saved, grad_out: Tensor, grad_lse: Tensor | None, scale: float, call: AttentionCall, with_weights: bool
) -> Gradients:
    executable = executable_for(saved.query, saved.key, saved.value, "backward", call)
    return executable.backward(saved, grad_out, grad_lse, scale, with_weights)


def like_outputs(query: Tensor, key: Tensor, value: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    """Return tensors without data, like (out, lse)."""
    out = query.new_empty(*query.shape[:-1], value.shape[-1])
    return out, query.new_empty(query.shape[:-1], dtype=accumulation_dtype(query.dtype))


def like_general_outputs(query: Tensor, key: Tensor, value: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Return tensors without data, like (out, lse, its remainder)."""
    out, lse = like_outputs(query, key, value)
    return out, lse, lse.new_empty(lse.shape)


def like_max_scores(query: Tensor, *rest: Any) -> Tensor:
    """Return a tensor without data, like that of max_scores."""
    return query.new_empty(query.shape[:-1], dtype=accumulation_dtype(query.dtype))


def like_gradients(
    grad_out: Tensor, grad_lse: Tensor | None, query: Tensor, key: Tensor, value: Tensor, *rest: Any
) -> tuple[Tensor, Tensor, Tensor]:
    """Return tensors without data, like those of attention_backward."""
    d_query, d_key, d_value = (x.new_empty(x.shape) for x in (query, key, value))
    return d_query, d_key, d_value


def like_general_gradients(
    grad_out: Tensor,
    grad_lse: Tensor | None,
    tensors: Sequence[Tensor],
    tables: Sequence[Tensor],
    with_weights: bool,
    *rest: Any,
) -> list[Tensor]:
    """Return tensors without data, like those of general_attention_backward."""
    saved = _saved(tensors)
    wanted = (saved.query, saved.key, saved.value, *(saved.weights if with_weights else ()))
    return [x.new_empty(x.shape) for x in wanted]


_requires_grad = attrgetter("requires_grad")


class Functions(NamedTuple):
    """The functions that a call is made of: torch's operators, or what they compute, which takes the same arguments."""

    attention: Callable[..., tuple[Tensor, Tensor]]
    general_attention: Callable[..., tuple[Tensor, Tensor, Tensor]]
    attention_backward: Callable[..., tuple[Tensor, Tensor, Tensor]]
    general_attention_backward: Callable[..., list[Tensor]]


OPERATORS = Functions(*(getattr(torch.ops.attncc, name).default for name in Functions._fields))
EAGER = Functions(attention, general_attention, attention_backward, general_attention_backward)


class _AttentionFunction(torch.autograd.Function):
    """Attention with its derivative: of (functions, named, tables, scale, *operands), query, key, value and weights.

    named: What the operands name, kept alive until the backward; None where it is looked up. tables: None under
    `attention`, which takes no weights either. torch.library.register_autograd would do, but takes longer for a call
    than all else that the host does.
    """

    @staticmethod
    def forward(ctx: Any, arguments: tuple[Any, ...], *tensors: Tensor) -> tuple[Tensor, ...]:
        out, *lse = _below_autograd(arguments, *tensors)
        query, key, value, *weights = tensors
        ctx.save_for_backward(query, key, value, out, *lse, *weights)
        ctx.arguments = arguments
        ctx.named = arguments[1] or export.referents(AttentionCall(*arguments[4:]))
        ctx.set_materialize_grads(False)
        if len(lse) > 1:
            ctx.mark_non_differentiable(*lse[1:])
        return out, *lse

    @staticmethod
    def backward(ctx: Any, grad_out: Tensor | None, grad_lse: Tensor | None, *of_rest: None) -> tuple[Any, ...]:
        tensors = ctx.saved_tensors
        functions, _, tables, *arguments = ctx.arguments
        grad_out = torch.zeros_like(tensors[3]) if grad_out is None else grad_out
        grads = (grad_out,) if grad_lse is None else (grad_out, grad_lse)
        if torch.is_grad_enabled() or not is_eager(*grads):  # operators refuse to be differentiated again
            functions = OPERATORS
        with torch._C._AutoDispatchBelowADInplaceOrView() if functions is EAGER else nullcontext():
            if tables is None:
                return None, *functions.attention_backward(grad_out, grad_lse, *tensors, *arguments)
            for_weights = ctx.needs_input_grad[4:]
            general = functions.general_attention_backward
            gradients = general(grad_out, grad_lse, tensors, tables, any(for_weights), *arguments)
        return None, *gradients, *(() if any(for_weights) else (None,) * len(for_weights))


def _below_autograd(arguments: tuple[Any, ...], query: Tensor, key: Tensor, value: Tensor, *weights: Tensor) -> Any:
    functions, _, tables, *rest = arguments
    with torch._C._AutoDispatchBelowADInplaceOrView():
        if tables is None:
            return functions.attention(query, key, value, *rest)
        return functions.general_attention(query, key, value, weights, tables, *rest)


def _differentiable(arguments: tuple[Any, ...], *tensors: Tensor) -> Any:
    if torch.is_grad_enabled() and any(map(_requires_grad, tensors)):
        return _AttentionFunction.apply(arguments, *tensors)  # type: ignore[no-untyped-call]
    return _below_autograd(arguments, *tensors)


def differentiable_attention(query: Tensor, key: Tensor, value: Tensor, *arguments: Any) -> Any:
    """Return `attention`, with its derivative where a gradient is required."""
    return _differentiable((OPERATORS, None, None, *arguments), query, key, value)


def differentiable_general_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    weights: Sequence[Tensor] | None,
    tables: Sequence[Tensor] | None,
    *arguments: Any,
) -> Any:
    """Return `general_attention`, with its derivative where a gradient is required."""
    return _differentiable((OPERATORS, None, tables or (), *arguments), query, key, value, *(weights or ()))


def constant_max_scores(*arguments: Any) -> Tensor:
    """Return `max_scores`, which has no derivative."""
    with torch._C._AutoDispatchBelowADInplaceOrView():
        return torch.ops.attncc.max_scores.default(*arguments)  # type: ignore[no-any-return]


@hidden
@torch.no_grad()
def eager_max_scores(*arguments: Any) -> Tensor:
    """Return the same without an operator, for tensors that are eager, and for composite backends."""
    return max_scores(*arguments)


@hidden
def eager_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    weights: Sequence[Tensor],
    tables: Sequence[Tensor] | None,
    named: tuple[object, ...],
    *arguments: Any,
) -> Any:
    """Return what either gives, without an operator, for tensors that are eager (attncc.runtime.eager).

    `tables` are None for `attention`; `named` are the pattern and the score that the call names.
    """
    return _differentiable((EAGER, named, tables, *arguments), query, key, value, *weights)


def composite_attention(
    query: Tensor, key: Tensor, value: Tensor, weights: Sequence[Tensor], scale: float, *operands: Any
) -> tuple[Tensor, ...]:
    """Return (out, lse), and lse's remainder if it has one, by a composite backend's own operations.

    Autograd and torch's transforms go through them.
    """
    executable = executable_for(query, key, value, "forward", AttentionCall(*operands))
    out, lse = executable.forward(query, key, value, weights, scale)
    return out, *lse.tensors


def refuse_double_backward(ctx: Any, *gradients: Any) -> None:
    """Raise AttnccError: gradients have no derivative."""
    raise AttnccError(
        "The gradient of attention was differentiated again.",
        rule="Backends have first derivatives only, but for the reference, whose operations are torch's own.",
        fix="Pass backend='reference' where second derivatives are needed: it is dense attention under the mask.",
    )


def refuse_vmap(*arguments: Any) -> None:
    """Raise AttnccError: operators can't be mapped by torch.vmap."""
    raise AttnccError(
        "attncc.attention was called under torch.vmap.",
        rule="Batch entries are the first dimension of query, key and value.",
        fix="Put the mapped dimension into B (or into H, for a pattern without h), or pass backend='reference'.",
    )
