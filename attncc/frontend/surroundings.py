"""Surroundings: what a declared function reads besides its parameters, so that what was made of it may be kept."""

from __future__ import annotations

from collections.abc import Hashable
from functools import lru_cache
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np

#: Types of values that are known by their type and value.
_PLAIN = (bool, int, float, complex, str, bytes, range, np.generic, type(None))
#: Types of values that say where they come from.
_DESCRIBED = (FunctionType, ModuleType, type)
#: Packages whose functions, classes and modules stay as they are, but for what the functions close over.
_SETTLED = frozenset({"attncc", "builtins", "itertools", "math", "numpy", "operator", "torch", "typing"})


class _Tensor:
    """A tensor, which stays the same until something writes to it; it is kept alive, so that no other has its place."""

    def __init__(self, tensor: Any) -> None:
        self.tensor, self.version = tensor, tensor._version

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Tensor) and self.tensor is other.tensor and self.version == other.version

    def __hash__(self) -> int:
        return hash((id(self.tensor), self.version))


class _UnknownError(Exception):
    """A function reads what can change without a sign of it."""


def surroundings(function: object) -> Hashable:
    """Return what a function reads of globals, closed-over variables and their attributes, and so do those it calls.

    Equal results mean that it returns the same for equal arguments. A result equals no other where the function reads
    what may change without a sign of it, as a list or an object does.
    """
    if isinstance(function, FunctionType) and _reads_nothing(function):
        return function.__code__
    try:
        return _known(function, (), frozenset())
    except _UnknownError:
        return object()


def _reads_nothing(function: FunctionType) -> bool:
    """Return whether a function reads its arguments alone."""
    defaults = function.__closure__ or function.__defaults__ or function.__kwdefaults__
    return not defaults and not _names(function.__code__)


def _known(value: object, names: tuple[str, ...], inside: frozenset[int]) -> Hashable:
    """Return what a value is known by, to code that reads attributes of these names.

    `inside` are the ids of the functions, modules and classes that are being looked at.
    """
    if isinstance(value, _PLAIN):
        return type(value), value
    if isinstance(value, tuple):
        return tuple(_known(each, names, inside) for each in value)
    if not isinstance(value, _DESCRIBED) and hasattr(value, "is_inference") and hasattr(value, "data_ptr"):
        if value.is_inference():  # nothing counts what is written to it
            raise _UnknownError
        return _Tensor(value)
    if id(value) in inside:
        return id(value)
    inside |= {id(value)}
    if _is_settled(value):  # it is kept alive, so that no other has its place
        closed_over = value.__closure__ if isinstance(value, FunctionType) else None
        return value, tuple(_known(_content(cell), names, inside) for cell in closed_over or ())
    if isinstance(value, FunctionType):
        code = value.__code__
        return code, tuple([_known(each, _names(code), inside) for each in _read(value)])
    if isinstance(value, ModuleType | type):
        attributes = ((name, getattr(value, name)) for name in names if hasattr(value, name))
        return id(value), tuple((name, _known(each, names, inside)) for name, each in attributes)
    raise _UnknownError


def _is_settled(value: object) -> bool:
    if isinstance(value, BuiltinFunctionType):  # a method of an object, such as tensor.item, does as the object is
        return value.__self__ is None or isinstance(value.__self__, ModuleType | type)
    if isinstance(value, np.ufunc):
        return True
    where = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
    described = isinstance(value, _DESCRIBED)
    return described and isinstance(where, str) and where.partition(".")[0] in _SETTLED


def _read(function: FunctionType) -> list[object]:
    """Return the values of the variables that a function reads, and that functions inside of it do."""
    known = function.__globals__
    found = [known.get(name) for name in _names(function.__code__)]
    found += [_content(cell) for cell in function.__closure__ or ()]
    return [*found, function.__defaults__, *(function.__kwdefaults__ or {}).values()]


def _content(cell: object) -> object:
    try:
        return cell.cell_contents  # type: ignore[attr-defined]  # the type has no public name
    except ValueError:  # nothing yet
        return None


@lru_cache(maxsize=1024)
def _names(code: CodeType) -> tuple[str, ...]:
    """Return the names of globals and attributes in a function's code, and in that of functions inside of it."""
    inner = (name for each in code.co_consts if isinstance(each, CodeType) for name in _names(each))
    return (*code.co_names, *inner)
