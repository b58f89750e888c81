"""Backends: found by name through the entry-point group `attncc.backends`, imported when they are first asked for."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from attncc._util.entry_points import Plugin, PluginGroup, left_out
from attncc.backends.base import ANY_DEVICE, Backend
from attncc.errors import BackendError, PluginError, nearest

if TYPE_CHECKING:
    import torch

    from attncc.targets import Target


def _backend(name: str, named: object) -> Backend:
    """Return the backend that an entry point names; raises PluginError for anything else."""
    if not isinstance(named, Backend):
        raise PluginError(f"The entry point names a {type(named).__name__}.", rule=_RULE, fix=_FIX)
    if named.name != name:
        raise PluginError(
            f"The entry point {name!r} names a backend that calls itself {named.name!r}.",
            rule="An entry point has the name of its backend.",
            fix=_FIX,
        )
    return named


_RULE = "It names an instance of attncc.backends.base.Backend, as in my_backend:BACKEND."
_FIX = "Correct the entry point in the plugin's pyproject.toml."
#: Each plugin's content is its backend.
BACKENDS = PluginGroup("attncc.backends", _RULE, _backend)


@cache
def _installed() -> Mapping[str, Plugin]:
    """Return the plugins by reference; entry points are read once in a process."""
    return {plugin.reference: plugin for plugin in BACKENDS.plugins()}


def names() -> list[str]:
    """Return the names of all backends, available or not, sorted."""
    return list(_installed())


def check(name: str) -> None:
    """Raise BackendError unless there is a backend of this name; none is imported."""
    if not isinstance(name, str) or name not in _installed():
        raise BackendError(
            f"Unknown backend {name!r}.",
            rule=f"A backend is found by the name of its entry point in the group attncc.backends.{left_out()}",
            fix=_missing() or nearest(name, _installed()),
        )


def _missing() -> str:
    """Return what to do where not even attncc's own backends are installed, "" elsewhere."""
    return "" if _installed() or left_out() else "attncc's own are missing: install it anew."


@cache
def known(name: str) -> Backend:
    """Return the backend of a name, whether it can run here or not; raises BackendError if it is unknown or broken."""
    check(name)
    try:
        return BACKENDS.demand(_installed()[name])
    except PluginError as error:
        raise BackendError(error.problem, rule=error.rule, fix=error.fix) from error


@cache
def get(name: str) -> Backend:
    """Return the backend of a name; raises BackendError if it is unknown, broken or can't run on this machine."""
    backend = known(name)
    reason = backend.unavailable()
    if reason is not None:
        raise BackendError(f"Backend {name!r} is not available: {reason}.", fix="Run `attncc doctor` for all backends.")
    return backend


def preferred(device: torch.device) -> list[str]:
    """Return the available backends to try for tensors on `device` when none is named, best first."""
    return _require(device.type, [name for name in _preferring(device.type) if _problem(name) is None])


def preferred_for(target: Target) -> str:
    """Return the backend that is tuned and simulated for a target where none is named; it need not run here."""
    device_type = "cpu" if target.gpu is None else "cuda"
    return _require(device_type, _preferring(device_type))[0]


def _require(device_type: str, preferring: list[str]) -> list[str]:
    if not preferring:
        raise BackendError(
            f"No backend prefers tensors on a device of type {device_type!r}.",
            rule="A backend that runs without being named is installed, available, and names the type of its devices."
            + left_out(),
            fix=_missing() or "Run `attncc doctor` for all backends, and name one.",
        )
    return preferring


@cache
def _preferring(device_type: str) -> list[str]:
    """Return the backends that prefer a type of device: third parties', attncc's own, then those for any device."""
    loaded = [(name, plugin, BACKENDS.load(plugin).content) for name, plugin in _installed().items()]
    own = {device_type, ANY_DEVICE}
    ranked = [
        (device_type not in backend.device_types, plugin.distribution == "attncc", name)
        for name, plugin, backend in loaded
        if backend is not None and own.intersection(backend.device_types)
    ]
    return [name for _, _, name in sorted(ranked)]


@cache
def tuned() -> tuple[str, ...]:
    """Return the names of the backends that leave choices open; broken ones are left out."""
    loaded = ((name, BACKENDS.load(plugin).content) for name, plugin in _installed().items())
    return tuple(name for name, backend in loaded if backend is not None and backend.choices)


@cache
def is_tuned(name: str) -> bool:
    """Return whether a backend leaves choices open; only that one is imported. False for an unknown name."""
    return name in _installed() and bool(known(name).choices)


@cache
def is_composite(name: str) -> bool:
    """Return whether autograd goes through a backend's own operations; False for an unknown name."""
    return name in _installed() and known(name).composite


def binds_tables(name: str) -> bool:
    """Return whether a backend binds tables on their device, without a look on the host."""
    return type(known(name)).prepare is not Backend.prepare


def sources(name: str) -> tuple[str, ...]:
    """Return the files and folders that the tuned configurations of a backend depend on.

    They are the planner, what backends share, and the package (or single module) that defines the backend. Paths are
    relative to the folder of `attncc`, or absolute.
    """
    package, own = Path(__file__).parents[1], _home(name)
    own = own.parent if own.stem == "__init__" else own
    place = own.relative_to(package).as_posix() if own.is_relative_to(package) else str(own)
    options = ("machine_code/options.py",) if known(name).compiles else ()
    return ("planner", place, "backends/choices.py", "backends/logsum.py", "backends/scoring.py", *options)


def search_spaces(name: str) -> Path:
    """Return the folder where a third party's backend has its search spaces; it need not exist."""
    return _home(name).parent / "search_spaces"


def _home(name: str) -> Path:
    """Return the file of the module that defines the class of a backend."""
    return Path(sys.modules[type(known(name)).__module__].__file__ or "")


def report() -> Iterator[tuple[str, str | None]]:
    """Yield (name, why it is unavailable or None) for every backend."""
    for name in names():
        yield name, _problem(name)


def _problem(name: str) -> str | None:
    """Return why a backend can't run on this machine, or None."""
    try:
        get(name)
    except BackendError as error:
        return error.problem
    return None
