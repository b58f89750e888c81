"""Plugins: patterns found through the entry-point group `attncc.patterns`, listed without importing anything.

A module that fails to import, or exits, takes nothing else down: it is reported once as a warning, shown with
its traceback by `attncc plugins doctor`, and raised when one of its patterns is asked for by name.
"""

from __future__ import annotations

import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType

from attncc.errors import AttnccWarning, PluginError
from attncc.patterns import PatternFactory

GROUP = "attncc.patterns"


@dataclass(frozen=True)
class Plugin:
    """One entry point: its name, the module that it names, and the distribution that it came with."""

    name: str
    module: str
    distribution: str
    version: str
    entry: EntryPoint

    @property
    def origin(self) -> str:
        """The distribution and its version, for messages."""
        return f"{self.distribution} {self.version}"


@dataclass(frozen=True)
class Loaded:
    """What came of loading a plugin: its patterns, or the error with its traceback."""

    plugin: Plugin
    patterns: dict[str, PatternFactory]
    error: BaseException | None = None
    traceback: str = ""


class PluginWarning(AttnccWarning):
    """A plugin could not be loaded."""


def plugins() -> list[Plugin]:
    """Return the installed plugins, sorted by name; nothing is imported.

    Raises PluginError if two of them have one name.
    """
    found: dict[str, Plugin] = {}
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        plugin = _described(entry)
        other = found.setdefault(plugin.name, plugin)
        if (other.module, other.origin) != (plugin.module, plugin.origin):
            raise PluginError(
                f"Two plugins are named {plugin.name!r}: {other.module} of {other.origin} and "
                f"{plugin.module} of {plugin.origin}.",
                rule="The name of an entry point in the group attncc.patterns is unique.",
                fix="Uninstall one of them, or ask its author to rename the entry point.",
            )
    return list(found.values())


@cache
def load(plugin: Plugin) -> Loaded:
    """Import a plugin and return its patterns; a failure is warned about once and returned, never raised."""
    try:
        with redirect_stdout(sys.stderr):  # what a plugin prints is no result of attncc's
            return Loaded(plugin, _patterns(_named_by(plugin.entry)))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # exits, and panics of compiled extensions, aren't Exceptions
        reason = f"{type(error).__name__}: {error}".rstrip(".")
        warnings.warn(
            f"Plugin {plugin.name!r} of {plugin.origin} can't be loaded: {reason}. "
            "Run `attncc plugins doctor` for the traceback.",
            PluginWarning,
            stacklevel=2,
        )
        return Loaded(plugin, {}, error, traceback.format_exc())


def loaded() -> Iterator[Loaded]:
    """Yield every plugin, loaded."""
    for plugin in plugins():
        yield load(plugin)


def demand(plugin: Plugin) -> dict[str, PatternFactory]:
    """Return the patterns of a plugin that was asked for by name; raises PluginError if it is broken."""
    result = load(plugin)
    if result.error is not None:
        reason = f"{type(result.error).__name__}: {result.error}".rstrip(".")
        raise PluginError(
            f"Plugin {plugin.name!r} of {plugin.origin} can't be loaded: {reason}.",
            fix="Run `attncc plugins doctor` for the traceback.",
        ) from result.error
    return result.patterns


def patterns_of(module: ModuleType) -> dict[str, PatternFactory]:
    """Return the patterns that a module declares, by name."""
    return {value.name: value for value in vars(module).values() if isinstance(value, PatternFactory)}


def _described(entry: EntryPoint) -> Plugin:
    distribution = entry.dist
    name = (distribution and distribution.name) or "unknown distribution"  # files of a distribution may lack its name
    version = (distribution and distribution.version) or "unknown version"
    return Plugin(entry.name, entry.value, name, version, entry)


def _named_by(entry: EntryPoint) -> object:
    """Import what an entry point names."""
    if entry.pattern.match(entry.value) is None:
        raise PluginError(
            f"The entry point names {entry.value!r}.",
            rule="It names a module, as in my_family, or one pattern of it, as in my_family:ring.",
            fix="Correct the entry point in the plugin's pyproject.toml.",
        )
    return entry.load()


def _patterns(named: object) -> dict[str, PatternFactory]:
    """Return the patterns of what an entry point names: a module that declares them, or a single one."""
    if isinstance(named, PatternFactory):
        return {named.name: named}
    if not isinstance(named, ModuleType):
        raise PluginError(
            f"The entry point names a {type(named).__name__}.",
            rule="It names a module that declares patterns, or one pattern.",
            fix="Correct the entry point in the plugin's pyproject.toml.",
        )
    return patterns_of(named)
