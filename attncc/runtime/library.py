"""The operators that torch knows attncc by: their schemas, registered where torch is; `operators` computes them.

Registering takes a few milliseconds and imports nothing but torch; `operators` is imported by the first call. So
a program that torch.export has saved finds its operators in a process that has only imported attncc and torch.

`general_attention` is attention under a score: it takes two lists, of the score's weights and of tables, and returns
the remainder of lse, too. All that costs every call time, so that attention without a score has an operator of its own.
Patterns and scores are named by handle and key, or, for `general_attention`, written out (attncc.runtime.export).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import torch

from attncc._util.tracing import hidden

#: Arguments in schemas; _CALL are the operands of attncc.runtime.call.AttentionCall.
_TENSORS = "Tensor query, Tensor key, Tensor value"
_LISTS = "Tensor[] weights, Tensor[] tables"
_CALL = "str pattern, str score, SymInt q_offset, str backend, str config"
_GRADIENTS = "Tensor grad_out, Tensor? grad_lse"


class _Operator(NamedTuple):
    """An operator: its function in `operators` has its name.

    Attributes:
        takes, returns: Its schema.
        like: The function for tensors without data.
        differentiable: The function that autograd calls in its place.
        backward: Without it, the function of the derivative.
    """

    name: str
    takes: str
    returns: str
    like: str
    differentiable: str = ""
    backward: str = ""


_OPERATORS = (
    _Operator(
        "attention",
        f"{_TENSORS}, float scale, {_CALL}",
        "(Tensor, Tensor)",
        "like_outputs",
        differentiable="differentiable_attention",
    ),
    _Operator(
        "general_attention",
        f"{_TENSORS}, {_LISTS}, float scale, {_CALL}",
        "(Tensor, Tensor, Tensor)",
        "like_general_outputs",
        differentiable="differentiable_general_attention",
    ),
    _Operator(
        "max_scores",
        f"{_TENSORS}, {_LISTS}, float scale, {_CALL}",
        "Tensor",
        "like_max_scores",
        differentiable="constant_max_scores",
    ),
    _Operator(
        "attention_backward",
        f"{_GRADIENTS}, {_TENSORS}, Tensor out, Tensor lse, float scale, {_CALL}",
        "(Tensor, Tensor, Tensor)",
        "like_gradients",
        backward="refuse_double_backward",
    ),
    _Operator(
        "general_attention_backward",
        f"{_GRADIENTS}, Tensor[] tensors, Tensor[] tables, bool with_weights, float scale, {_CALL}",
        "Tensor[]",
        "like_general_gradients",
        backward="refuse_double_backward",
    ),
)


def _function(name: str) -> Callable[..., Any]:
    """Return a function of attncc.runtime.operators, which is imported when it is first called."""

    @cache
    def function() -> Callable[..., Any]:
        from attncc.runtime import operators

        return getattr(operators, name)  # type: ignore[no-any-return]

    return lambda *arguments: function()(*arguments)


#: Operators of torch.library.custom_op would check every result against every input, which takes as long as the rest.
_LIBRARY = torch.library.Library("attncc", "DEF")  # type: ignore[no-untyped-call]
for _operator in _OPERATORS:
    _name, _takes, _returns = _operator[:3]
    _LIBRARY.define(f"{_name}({_takes}) -> {_returns}", tags=torch.Tag.pt2_compliant_tag)  # type: ignore[no-untyped-call]
    _LIBRARY.impl(_name, hidden(_function(_name)), "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]
    _LIBRARY.impl(_name, _function(_operator.like), "Meta")  # type: ignore[no-untyped-call]
    torch.library.register_vmap(f"attncc::{_name}", _function("refuse_vmap"), lib=_LIBRARY)
    if _operator.differentiable:
        _LIBRARY.impl(_name, _function(_operator.differentiable), "Autograd")  # type: ignore[no-untyped-call]
    else:
        torch.library.register_autograd(f"attncc::{_name}", _function(_operator.backward), lib=_LIBRARY)

attention = torch.ops.attncc.attention.default
general_attention = torch.ops.attncc.general_attention.default
max_scores = torch.ops.attncc.max_scores.default
