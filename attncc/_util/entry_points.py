"""Plugins: objects that installed packages provide through entry points, listed without importing anything.

A module that fails to import, exits or hangs takes nothing else down. Its failure is a warning, once. `attncc plugins
doctor` shows the traceback, and a request for the plugin by name raises the error.
"""

from __future__ import annotations

import os
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.metadata import Distribution, EntryPoint, distributions, entry_points
from typing import Generic, TypeVar

from attncc._util import foreign
from attncc.errors import AttnccWarning, PluginError, nearest, told

#: The environment variable that leaves plugins out, by their references, separated by commas.
DISABLED = "ATTNCC_DISABLED_PLUGINS"
#: Characters of a traceback that are kept, from its end.
LONGEST = 20_000
Content = TypeVar("Content")
_warned: set[str] = set()


@dataclass(frozen=True)
class Plugin:
    """One entry point: its name, the module that it names, and the distribution that it came with.

    Attributes:
        reference: What it is asked for by: its name; where several have that, `distribution/name`, and where these are
            of one distribution, `module/name`.
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
class Loaded(Generic[Content]):
    """What came of loading a plugin: its content, or the error with its traceback."""

    plugin: Plugin
    content: Content | None
    error: BaseException | None = None
    traceback: str = ""

    @property
    def failure(self) -> str:
        """A sentence on why a plugin with an error isn't loaded."""
        assert self.error is not None
        return f"Plugin {self.plugin.reference!r} of {self.plugin.origin} can't be loaded: {told(self.error)}."


class PluginWarning(AttnccWarning):
    """A plugin could not be loaded, or several have one name."""


class PluginGroup(Generic[Content]):
    """The plugins of one entry-point group. Each is imported when it is first asked for, and once.

    Args:
        name: The name of the group, as pyproject.toml has it.
        rule: What an entry point of the group names, as a sentence.
        content: Returns the content of the object that an entry point names, given the entry point's name; raises
            PluginError for any other object.
    """

    def __init__(self, name: str, rule: str, content: Callable[[str, object], Content]) -> None:
        self.name = name
        self._rule, self._content = rule, content
        self._results: dict[Plugin, Loaded[Content]] = {}
        self._scan: tuple[object, list[Plugin]] | None = None

    def installed(self) -> list[Plugin]:
        """Return all plugins, disabled or not, sorted by name; they are read again once sys.path has changed."""
        state = _search_path()
        if self._scan is None or self._scan[0] != state:
            entries = sorted(self._entries(), key=lambda entry: (entry.name, entry.value))
            origins = {entry.dist: _origin(entry.dist) for entry in entries}
            self._scan = state, [Plugin(each.name, each.value, *origins[each.dist], each) for each in entries]
        return self._scan[1]

    def plugins(self) -> list[Plugin]:
        """Return the installed plugins that aren't disabled, sorted by name; nothing is imported.

        A warning names plugins that share a name, once, with the references that tell them apart.
        """
        by_name: dict[str, list[Plugin]] = {}
        for plugin in self.installed():
            others = by_name.setdefault(plugin.name, [])
            if all((other.module, other.origin) != (plugin.module, plugin.origin) for other in others):
                others.append(plugin)
        off = _disabled()
        enabled = [[each for each in group if not any(map(each.answers_to, off))] for group in by_name.values()]
        return [each for group in enabled for each in _told_apart(group)]

    def answering(self, reference: str) -> list[Plugin]:
        """Return the plugins of a name, or of `distribution/name`; raises PluginError where there are none."""
        installed = self.plugins()
        answering = [plugin for plugin in installed if plugin.answers_to(reference)]
        if not answering:
            raise PluginError(
                f"Unknown plugin {reference!r}.",
                rule=f"A plugin is found by the name of its entry point.{left_out()}",
                fix=nearest(reference, [plugin.reference for plugin in installed]),
            )
        return answering

    def load(self, plugin: Plugin) -> Loaded[Content]:
        """Import a plugin, once; a failure is warned about once and returned, never raised."""
        before = self._results.get(plugin)
        if before is not None:
            return before
        try:
            with foreign.turn(f"Plugin {plugin.reference!r} of {plugin.origin}"):
                if plugin not in self._results:  # by the thread that had its turn before
                    self._results[plugin] = self._loaded(plugin)
                return self._results[plugin]
        except PluginError as error:  # another thread takes too long; it may be done the next time
            return _broken(plugin, error, traceback.format_exc())

    def loaded(self) -> Iterator[Loaded[Content]]:
        """Yield every plugin, loaded."""
        return map(self.load, self.plugins())

    def demand(self, plugin: Plugin) -> Content:
        """Return the content of a plugin that was asked for by name; raises PluginError if it is broken."""
        result = self.load(plugin)
        if result.content is None:
            raise PluginError(result.failure, fix="Run `attncc plugins doctor` for the traceback.") from result.error
        return result.content

    def _entries(self) -> list[EntryPoint]:
        """Return the entry points; a distribution whose metadata can't be read is left out, with a warning."""
        try:
            return list(entry_points(group=self.name))
        except Exception:  # one such distribution is enough
            return [entry for distribution in distributions() for entry in self._entries_of(distribution)]

    def _entries_of(self, distribution: Distribution) -> list[EntryPoint]:
        try:
            return list(distribution.entry_points.select(group=self.name))
        except Exception as error:
            place = getattr(distribution, "_path", "a distribution")
            _warn_once(f"The entry points of {place} can't be read: {told(error)}. It is left out.")
            return []

    def _loaded(self, plugin: Plugin) -> Loaded[Content]:
        title = f"Plugin {plugin.reference!r} of {plugin.origin}"
        try:
            with foreign.running(title, f"{DISABLED}={plugin.reference} leaves it out."):
                return Loaded(plugin, self._content(plugin.name, self._imported(plugin.entry)))
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

    def _imported(self, entry: EntryPoint) -> object:
        if entry.pattern.match(entry.value) is None:
            raise PluginError(
                f"The entry point names {entry.value!r}.",
                rule=self._rule,
                fix="Correct the entry point in the plugin's pyproject.toml.",
            )
        return entry.load()


def _broken(plugin: Plugin, error: BaseException, trace: str) -> Loaded[Content]:
    result: Loaded[Content] = Loaded(plugin, None, error, trace[-LONGEST:])
    warnings.warn(f"{result.failure} Run `attncc plugins doctor` for the traceback.", PluginWarning, stacklevel=4)
    return result


def _disabled() -> list[str]:
    """Return the references of ATTNCC_DISABLED_PLUGINS."""
    return [text.strip() for text in os.environ.get(DISABLED, "").split(",") if text.strip()]


def left_out() -> str:
    """Return a sentence on ATTNCC_DISABLED_PLUGINS for a rule of what must be installed, "" where it isn't set."""
    return f" It isn't one of those that are left out: {DISABLED}={os.environ[DISABLED]}." if _disabled() else ""


def _told_apart(namesakes: list[Plugin]) -> list[Plugin]:
    """Return plugins of one name with references that differ; a warning lists them where there are several."""
    if len(namesakes) < 2:
        return [replace(plugin, reference=plugin.name) for plugin in namesakes]
    origins = [_normal(plugin.distribution) for plugin in namesakes]
    places = [
        plugin.distribution if origins.count(origin) == 1 else plugin.module
        for plugin, origin in zip(namesakes, origins, strict=True)
    ]
    apart = [
        replace(plugin, reference=f"{place}/{plugin.name}") for plugin, place in zip(namesakes, places, strict=True)
    ]
    listed = " and ".join(f"{plugin.reference!r} ({plugin.module} of {plugin.origin})" for plugin in apart)
    _warn_once(
        f"{len(apart)} plugins are named {apart[0].name!r}: {listed}. Name each by its reference, such as "
        f"{apart[0].reference}; rename or uninstall one, or leave it out by {DISABLED}."
    )
    return apart


def _warn_once(message: str) -> None:
    if message not in _warned:
        _warned.add(message)
        warnings.warn(message, PluginWarning, stacklevel=3)


def _normal(distribution: str) -> str:
    """Return a distribution's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def _origin(distribution: Distribution | None) -> tuple[str, str]:
    """Return the name and the version of a distribution, whose files may lack either."""
    metadata = None if distribution is None else distribution.metadata
    name, version = (metadata[field] if metadata and field in metadata else "" for field in ("Name", "Version"))
    return name or "unknown distribution", version or "unknown version"


def _search_path() -> tuple[object, ...]:
    """Return the folders that distributions are found in, with the times at which they changed."""
    return tuple((place, _changed(place or os.curdir)) for place in sys.path)


def _changed(place: str) -> int:
    try:
        return os.stat(place).st_mtime_ns
    except OSError:  # Python passes over what isn't there
        return 0
