"""Tracing: what torch.compile calls once, while it traces, and doesn't look into."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TypeVar

Function = TypeVar("Function", bound=Callable[..., object])


def constant(function: Function) -> Function:
    """Let torch.compile call a function of constants when it traces, and keep what it returned (decorator).

    torch.compiler.assume_constant_result sets the same mark, but imports torch._dynamo first, which takes seconds.
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


def is_tracing() -> bool:
    """Return whether torch.compile or torch.export is tracing; torch isn't imported for it."""
    torch = sys.modules.get("torch")
    return torch is not None and torch.compiler.is_compiling()
