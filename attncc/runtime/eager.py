"""Eager calls: whether a call may run at once, or has to be an operator that torch's dispatcher sees."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd import forward_ad

#: Types of tensors on which torch's functions do nothing else than compute.
_TYPES = frozenset([Tensor, torch.nn.Parameter])


def is_eager(*tensors: Tensor) -> bool:
    """Return whether nothing but autograd looks at a call on these tensors.

    Then its functions run at once. Else it is an operator: for torch.compile and torch.jit.trace, which record it, for
    modes and the transforms of torch.func, and for tensors that aren't ordinary ones, such as fake tensors and
    instances of subclasses.
    """
    return not is_watched() and all(map(_is_ordinary, tensors))


def is_watched() -> bool:
    """Return whether torch records what runs now, changes it by a mode, or differentiates or maps it by a transform."""
    return (
        torch.compiler.is_compiling()
        or torch._C._len_torch_dispatch_stack() > 0
        or torch._C._len_torch_function_stack() > 0
        or torch._C._are_functorch_transforms_active()
        or torch._C._get_tracing_state() is not None
        or forward_ad._current_level >= 0
    )


def _is_ordinary(x: Tensor) -> bool:
    if type(x) not in _TYPES or x.layout is not torch.strided or x.is_nested or x.is_meta:
        return False
    return not torch._C._functorch.is_legacy_batchedtensor(x)
