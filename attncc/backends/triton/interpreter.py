"""Triton's interpreter, which runs the kernels on a CPU where TRITON_INTERPRET=1 asks for it."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np


def is_on() -> bool:
    """Return whether triton interprets kernels."""
    import triton

    return bool(triton.knobs.runtime.interpret)


@cache
def prepare() -> None:
    """Give the interpreter's dot the numbers of bfloat16 tiles: it would multiply the integers that hold their bits.

    Let it not look for overflow either. That takes a third of its time, and it reports none unless it debugs.
    """
    from triton.runtime import interpreter

    options = interpreter.interpreter_builder.options
    if not options.debug:
        interpreter.interpreter_builder.options = replace(options, sanitize_overflow=False)
    product = interpreter.InterpreterBuilder.create_dot

    def create_dot(builder: Any, a: Any, b: Any, *rest: Any) -> Any:
        return product(builder, _numbers(a), _numbers(b), *rest)

    interpreter.InterpreterBuilder.create_dot = create_dot


def _numbers(tile: Any) -> Any:
    """Return a bfloat16 tile in float32, which holds its numbers exactly."""
    import triton.language as tl
    from triton.runtime.interpreter import TensorHandle

    if tile.dtype.scalar != tl.bfloat16:
        return tile
    return TensorHandle((tile.data.astype(np.uint32) << 16).view(np.float32), tl.float32)
