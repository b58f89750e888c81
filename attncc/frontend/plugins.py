"""Plugins that bring patterns: the entry-point group `attncc.patterns`."""

from __future__ import annotations

from types import ModuleType

from attncc._util.entry_points import PluginGroup
from attncc.errors import PluginError
from attncc.frontend.pattern_factory import PatternFactory


def patterns_of(module: ModuleType) -> dict[str, PatternFactory]:
    """Return the patterns that a module declares, by name."""
    return {value.name: value for value in vars(module).values() if isinstance(value, PatternFactory)}


def _patterns(name: str, named: object) -> dict[str, PatternFactory]:
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


#: Each plugin's content is its patterns, by name.
PATTERNS = PluginGroup(
    "attncc.patterns",
    "It names a module, as in my_family, or one pattern of it, as in my_family:ring.",
    _patterns,
)
