"""Tracing: what torch.compile calls once, while it traces, and doesn't look into."""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable
from functools import cache, wraps
from typing import Any, ParamSpec, TypeVar

from attncc.errors import for_dynamo, is_dynamo_waiting, run_by_dynamo

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def constant(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Let torch.compile run a function of constants when it traces, and keep what it returned (decorator).

    Errors that it raises then reach the user whole.
    """

    @run_by_dynamo
    @wraps(function)
    def call(*arguments: Arguments.args, **named: Arguments.kwargs) -> Result:
        try:
            return function(*arguments, **named)
        except Exception as error:
            if not is_dynamo_waiting():
                raise
            raise for_dynamo(error) from error

    return call


def hidden(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Let torch.compile not look into a function (decorator).

    Saying so imports torch._dynamo, which takes seconds: only a process that has it anyway does.
    """

    @cache
    def disabled() -> Callable[Arguments, Result]:
        return sys.modules["torch"].compiler.disable(function)  # type: ignore[no-any-return]

    @wraps(function)
    def call(*arguments: Arguments.args, **named: Arguments.kwargs) -> Result:
        return (disabled() if _is_watched() else function)(*arguments, **named)

    return call


def _is_watched() -> bool:
    """Return whether torch.compile looks at what runs now, as it does in and below compiled functions."""
    if "torch._dynamo" not in sys.modules:
        return False
    torch = sys.modules["torch"]
    if torch.compiler.is_dynamo_compiling():  # which can't trace what follows
        return True
    return torch._C._dynamo.eval_frame.get_eval_frame_callback() is not None


def is_tracing() -> bool:
    """Return whether torch.compile or torch.export is tracing; torch isn't imported for it."""
    torch = sys.modules.get("torch")
    return torch is not None and torch.compiler.is_compiling()


def is_recording() -> bool:
    """Return whether torch.compile, torch.export or torch.jit.trace records the caller; torch isn't imported for it."""
    torch = sys.modules.get("torch")
    return torch is not None and (torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None)


def becomes_constant(tensor: Any) -> bool:
    """Return whether make_fx records the caller, and its graph has a constant in place of what is read of an input."""
    proxies = sys.modules.get("torch.fx.experimental.proxy_tensor")
    mode = None if proxies is None else proxies.get_proxy_mode()
    if proxies is None or mode is None:
        return False
    return proxies.get_proxy_slot(tensor, mode.tracer, None) is not None


def plain(value: Any) -> Any:
    """Return an integer as the number that it is, where torch.compile has a symbol for it, and all else as it is."""
    return operator.index(value) if isinstance(value, int) and not isinstance(value, bool) else value


def sizes(tensor: Any) -> tuple[int, ...]:
    """Return a tensor's sizes as numbers, where torch.compile has symbols for them, and torch.jit.trace tensors."""
    return tuple([operator.index(size) for size in tensor.shape])


def shown(value: object) -> str:
    """Return a value's repr for a message; torch.compile can't put a symbol into words."""
    return repr(plain(value))
