"""Backends, by name; each is imported when it is first asked for."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING

from attncc.errors import BackendError, nearest

if TYPE_CHECKING:
    import torch

    from attncc.backends.base import Backend

#: Backend name -> module that holds its `BACKEND`, in the order in which they are listed.
_MODULES = {
    "torch": "attncc.backends.torch",
    "triton": "attncc.backends.triton",
    "reference": "attncc.backends.reference",
}


def names() -> list[str]:
    """Return the names of all backends, available or not."""
    return list(_MODULES)


def check(name: str) -> None:
    """Raise BackendError unless there is a backend of this name; none is imported."""
    if name not in _MODULES:
        raise BackendError(
            f"Unknown backend {name!r}.", rule="Backends are found by name.", fix=nearest(name, _MODULES)
        )


@cache
def known(name: str) -> Backend:
    """Return the backend of this name, whether it can run here or not; raises BackendError if it is unknown."""
    check(name)
    backend: Backend = importlib.import_module(_MODULES[name]).BACKEND
    return backend


@cache
def get(name: str) -> Backend:
    """Return the backend of this name; raises BackendError if it is unknown or can't run on this machine."""
    backend = known(name)
    reason = backend.unavailable()
    if reason is not None:
        raise BackendError(f"Backend {name!r} is not available: {reason}.", fix="Run `attncc doctor` for all backends.")
    return backend


def preferred(device: torch.device) -> list[str]:
    """Return the backends to try for tensors on `device` when none is named, best first."""
    on_gpu = device.type == "cuda" and dict(report())["triton"] is None
    return ["triton", "torch"] if on_gpu else ["torch"]


def report() -> Iterator[tuple[str, str | None]]:
    """Yield (name, why it is unavailable or None) for every backend."""
    for name in names():
        try:
            get(name)
        except BackendError as error:
            yield name, error.problem
        else:
            yield name, None
