"""Versions of tensors: what was read of a tensor is kept until it is changed."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import numpy as np
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from attncc.ir.arrays import as_array
from attncc.ir.tables import Array

Result = TypeVar("Result")
#: What an array holds: its bytes, the name of their type, and its shape.
Content = tuple[bytes, str, tuple[int, ...]]


def by_version(function: Callable[[Tensor], Result]) -> Callable[[Tensor], Result]:
    """Keep what a function has read of each living tensor (decorator); one that was changed since is read again.

    One without a version, which was made in inference mode, is read each time.
    """
    kept: Any = WeakTensorKeyDictionary()

    @wraps(function)
    def read(tensor: Tensor) -> Result:
        version = None if tensor.is_inference() else tensor._version
        known, result = kept.get(tensor, (None, None))
        if version is None or known != version:
            result = function(tensor)
            kept[tensor] = version, result
        return result  # type: ignore[no-any-return]

    return read


def content(given: Any) -> Content:
    """Return what an array, a list or a tensor holds, integers as int64; raises TableError for what can't be read."""
    return _of_tensor(given) if isinstance(given, Tensor) else _held(as_array(given))


def _held(array: Array) -> Content:
    array = array.astype(np.int64) if array.dtype.kind in "iu" else array
    return array.tobytes(), array.dtype.str, array.shape


@by_version
def _of_tensor(tensor: Tensor) -> Content:
    return _held(as_array(tensor))


def array_of(content: Content) -> Array:
    """Return an array that holds this; it can't be written to."""
    data, dtype, shape = content
    return np.frombuffer(data, dtype).reshape(shape)
