"""Backends, by name; each is imported when it is first asked for."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from attncc.errors import BackendError, nearest

if TYPE_CHECKING:
    import torch

    from attncc.backends.base import Backend


@dataclass(frozen=True)
class Registered:
    """What is known of a backend before it is imported.

    module: what holds its `BACKEND`. packages: what it runs on, whose versions count. tuned: it leaves choices open.
    compiled: attncc.machine_code says how its kernels are compiled. composite: its forward is made of torch's own
    operations, through which autograd finds derivatives of every order.
    """

    module: str
    packages: tuple[str, ...] = ("torch",)
    tuned: bool = False
    compiled: bool = False
    composite: bool = False

    @property
    def sources(self) -> tuple[str, ...]:
        """The files, relative to the package, that what is tuned depends on: the planner's, its own, shared ones."""
        own = self.module.removeprefix("attncc.").replace(".", "/")
        options = ("machine_code/options.py",) if self.compiled else ()
        return ("planner", own, "backends/choices.py", "backends/logsum.py", "backends/scoring.py", *options)


#: By name, in the order in which they are listed.
_REGISTERED = {
    "torch": Registered("attncc.backends.torch", tuned=True),
    "triton": Registered("attncc.backends.triton", ("triton",), tuned=True, compiled=True),
    "reference": Registered("attncc.backends.reference", composite=True),
}


def names() -> list[str]:
    """Return the names of all backends, available or not."""
    return list(_REGISTERED)


def tuned() -> Mapping[str, Registered]:
    """Return the backends that leave choices open, by name."""
    return {name: each for name, each in _REGISTERED.items() if each.tuned}


def is_composite(name: str) -> bool:
    """Return whether autograd goes through a backend's own operations; False for a name that is none."""
    return name in _REGISTERED and _REGISTERED[name].composite


def check(name: str) -> None:
    """Raise BackendError unless there is a backend of this name; none is imported."""
    if not isinstance(name, str) or name not in _REGISTERED:
        raise BackendError(
            f"Unknown backend {name!r}.", rule="Backends are found by name.", fix=nearest(name, _REGISTERED)
        )


@cache
def known(name: str) -> Backend:
    """Return the backend of this name, whether it can run here or not; raises BackendError if it is unknown."""
    check(name)
    backend: Backend = importlib.import_module(_REGISTERED[name].module).BACKEND
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
