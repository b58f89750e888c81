"""Versions of tensors: what was read of a tensor is kept until it is changed."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

Result = TypeVar("Result")


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
