"""First derivatives: gradients that must not be differentiated again say so, instead of counting as constants."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import torch
from torch import Tensor

from attncc._util.tracing import constant
from attncc.errors import AttnccError, ExportError
from attncc.runtime.operators import refuse_double_backward

Gradients = tuple[Any, ...]


def first_order_only(backward: Callable[..., tuple[Gradients, Sequence[Tensor]]]) -> Callable[..., Gradients]:
    """Return a backward of an autograd.Function whose gradients raise AttnccError where they are differentiated.

    backward returns the gradients, and what they depend on besides the incoming ones. torch's once_differentiable
    looks at the incoming ones alone: that of a plain sum is a constant, and a penalty on gradients silently nothing.
    """

    @wraps(backward)
    def wrapped(ctx: Any, *grads: Tensor | None) -> Gradients:
        with torch.no_grad():
            gradients, inputs = backward(ctx, *grads)
        roots = [x for x in (*inputs, *grads) if x is not None and x.requires_grad]
        if not roots or not torch.is_grad_enabled():
            return gradients
        return tuple(_Final.apply(x, *roots) if isinstance(x, Tensor) else x for x in gradients)  # type: ignore[no-untyped-call]

    return wrapped


def refuse_transforms() -> None:
    """Raise AttnccError inside of torch.func's transforms, such as vmap and grad."""
    if torch._C._are_functorch_transforms_active():
        raise AttnccError(
            "A distributed attention was called under a transform of torch.func.",
            rule="Its exchanges with other ranks are differentiated by backward() and torch.autograd.grad alone.",
            fix="Differentiate with these; put a dimension that was mapped into B.",
        )


@constant
def refuse_export(operator: object) -> None:
    """Raise ExportError: what is recorded to be saved calls a distributed operator."""
    raise ExportError(
        f"{operator!r} was exported.",
        rule="It exchanges with the ranks of this process's group, which no file and no other process has.",
        fix="Export the model with attncc.attention, and compile the distributed one where it is loaded.",
    )


class _Final(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, *roots: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> None:
        refuse_double_backward(ctx, *grads)
