"""Plugins: patterns found through the entry-point group `attncc.patterns`, listed without importing anything.

A module that fails to import, exits or hangs takes nothing else down: it is reported once as a warning, shown with its
traceback by `attncc plugins doctor`, and raised when one of its patterns is asked for by name.
"""

from __future__ import annotations

import os
import re
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.metadata import Distribution, EntryPoint, distributions, entry_points
from types import ModuleType

from attncc.errors import AttnccWarning, PluginError, nearest, told
from attncc.frontend import foreign
from attncc.frontend.patterns import PatternFactory

GROUP = "attncc.patterns"
#: Plugins that are left out, by their references, separated by commas.
DISABLED = "ATTNCC_DISABLED_PLUGINS"
#: Characters of a traceback that are kept, from its end.
LONGEST = 20_000
_warned: set[str] = set()
_results: dict[Plugin, Loaded] = {}


@dataclass(frozen=True)
class Plugin:
    """One entry point: its name, the module that it names, and the distribution that it came with.

    reference: what it is asked for by: its name; where several have that, `distribution/name`, and where these are of
    one distribution, `module/name`.
    """

    name: str
    module: str
    distribution: str
    version: str
    entry: EntryPoint
    reference: str = ""

    @property
    def origin(self) -> str:
        """The distribution and its version, for messages."""
        return f"{self.distribution} {self.version}"

    def answers_to(self, reference: str) -> bool:
        """Return whether a reference is of this plugin: its name, after what it is of, or alone."""
        place, _, name = reference.rpartition("/")
        of_it = _normal(place) == _normal(self.distribution) or place == self.module
        return reference == self.name or (name == self.name and of_it)


@dataclass(frozen=True)
class Loaded:
    """What came of loading a plugin: its patterns, or the error with its traceback."""

    plugin: Plugin
    patterns: dict[str, PatternFactory]
    error: BaseException | None = None
    traceback: str = ""

    @property
    def failure(self) -> str:
        """A sentence on why it isn't loaded, which has an error."""
        assert self.error is not None
        return f"Plugin {self.plugin.reference!r} of {self.plugin.origin} can't be loaded: {told(self.error)}."


class PluginWarning(AttnccWarning):
    """A plugin could not be loaded, or several have one name."""


def plugins() -> list[Plugin]:
    """Return the installed plugins that aren't disabled, sorted by name; nothing is imported.

    Several of one name are warned of once, with the references that tell them apart.
    """
    by_name: dict[str, list[Plugin]] = {}
    for entry in sorted(entries(), key=lambda entry: (entry.name, entry.value)):
        plugin, others = _described(entry), by_name.setdefault(entry.name, [])
        if all((other.module, other.origin) != (plugin.module, plugin.origin) for other in others):
            others.append(plugin)
    off = _disabled()
    found = {name: [each for each in of_one if not any(map(each.answers_to, off))] for name, of_one in by_name.items()}
    return [each for of_one in found.values() for each in _told_apart(of_one)]


def answering(reference: str) -> list[Plugin]:
    """Return the plugins of a name, or of `distribution/name`; raises PluginError where there are none."""
    installed = plugins()
    found = [plugin for plugin in installed if plugin.answers_to(reference)]
    if not found:
        off = f" It isn't one of those that are left out: {DISABLED}={os.environ[DISABLED]}." if _disabled() else ""
        raise PluginError(
            f"Unknown plugin {reference!r}.",
            rule=f"A plugin is found by the name of its entry point.{off}",
            fix=nearest(reference, [plugin.reference for plugin in installed]),
        )
    return found


def load(plugin: Plugin) -> Loaded:
    """Import a plugin, once, and return its patterns; a failure is warned about once and returned, never raised."""
    found = _results.get(plugin)
    if found is not None:
        return found
    try:
        with foreign.turn(f"Plugin {plugin.reference!r} of {plugin.origin}"):
            if plugin not in _results:  # by the thread that had its turn before
                _results[plugin] = _loaded(plugin)
            return _results[plugin]
    except PluginError as error:  # another thread takes too long; it may be done the next time
        return _broken(plugin, error, traceback.format_exc())


def _loaded(plugin: Plugin) -> Loaded:
    called = f"Plugin {plugin.reference!r} of {plugin.origin}"
    try:
        with foreign.running(called, f"{DISABLED}={plugin.reference} leaves it out."):
            return Loaded(plugin, _patterns(_named_by(plugin.entry)))
    except KeyboardInterrupt:
        raise
    except foreign.TooLong:
        error: BaseException = PluginError(
            f"It took more than {foreign.timeout():g} s to import, and was interrupted",
            fix=f"Set {foreign.TIMEOUT} to a longer time, or leave it out by {DISABLED}={plugin.reference}.",
        )
        return _broken(plugin, error, traceback.format_exc())
    except BaseException as error:  # exits, and panics of compiled extensions, aren't Exceptions
        return _broken(plugin, error, traceback.format_exc())


def _broken(plugin: Plugin, error: BaseException, trace: str) -> Loaded:
    found = Loaded(plugin, {}, error, trace[-LONGEST:])
    warnings.warn(f"{found.failure} Run `attncc plugins doctor` for the traceback.", PluginWarning, stacklevel=4)
    return found


def loaded() -> Iterator[Loaded]:
    """Yield every plugin, loaded."""
    for plugin in plugins():
        yield load(plugin)


def demand(plugin: Plugin) -> dict[str, PatternFactory]:
    """Return the patterns of a plugin that was asked for by name; raises PluginError if it is broken."""
    result = load(plugin)
    if result.error is not None:
        raise PluginError(result.failure, fix="Run `attncc plugins doctor` for the traceback.") from result.error
    return result.patterns


def patterns_of(module: ModuleType) -> dict[str, PatternFactory]:
    """Return the patterns that a module declares, by name."""
    return {value.name: value for value in vars(module).values() if isinstance(value, PatternFactory)}


def entries() -> list[EntryPoint]:
    """Return the entry points of plugins; a distribution whose metadata can't be read is warned of and left out."""
    try:
        return list(entry_points(group=GROUP))
    except Exception:  # one such distribution is enough
        return [entry for distribution in distributions() for entry in _entries_of(distribution)]


def _entries_of(distribution: Distribution) -> list[EntryPoint]:
    try:
        return list(distribution.entry_points.select(group=GROUP))
    except Exception as error:
        place = getattr(distribution, "_path", "a distribution")
        _warn_once(f"The entry points of {place} can't be read: {told(error)}. It is left out.")
        return []


def _disabled() -> list[str]:
    """Return the references of ATTNCC_DISABLED_PLUGINS."""
    return [text.strip() for text in os.environ.get(DISABLED, "").split(",") if text.strip()]


def _told_apart(of_one_name: list[Plugin]) -> list[Plugin]:
    """Return plugins of one name with references that differ, and warn of more than one."""
    if len(of_one_name) < 2:
        return [replace(plugin, reference=plugin.name) for plugin in of_one_name]
    origins = [_normal(plugin.distribution) for plugin in of_one_name]
    places = [
        plugin.distribution if origins.count(origin) == 1 else plugin.module
        for plugin, origin in zip(of_one_name, origins, strict=True)
    ]
    found = [
        replace(plugin, reference=f"{place}/{plugin.name}") for plugin, place in zip(of_one_name, places, strict=True)
    ]
    listed = " and ".join(f"{plugin.reference!r} ({plugin.module} of {plugin.origin})" for plugin in found)
    _warn_once(
        f"{len(found)} plugins are named {found[0].name!r}: {listed}. Each is at hand by its reference, as in "
        f"{found[0].reference}:PATTERN; rename or uninstall one, or leave it out by {DISABLED}."
    )
    return found


def _warn_once(message: str) -> None:
    if message not in _warned:
        _warned.add(message)
        warnings.warn(message, PluginWarning, stacklevel=3)


def _normal(distribution: str) -> str:
    """Return a distribution's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


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
