"""The catalogue: patterns by name, from plugins and from files, and parameters from text."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from attncc import plugins
from attncc.declarations import Declaration, Parameter
from attncc.errors import AttnccError, ParameterError, PatternError, PluginError, TableError, nearest
from attncc.ir.language import Table
from attncc.patterns import Pattern, PatternFactory

Declared = TypeVar("Declared", bound=Declaration)


def load(name: str, **parameters: Any) -> Pattern:
    """Return the pattern `name` with its parameters: `load("strided", l=128)`.

    `name` is a pattern of an installed plugin ("strided", or "sparse_transformer:strided" where two plugins have
    one), or of a file ("mine.py:ring"). Raises PatternError, PluginError, ParameterError or TableError.
    """
    return factory(name)(**parameters)


def factory(name: str) -> PatternFactory:
    """Return the declared pattern `name`; see `load` for the forms of names."""
    if not isinstance(name, str):
        raise PatternError(
            f"The name {name!r} ({type(name).__name__}).", rule='Patterns are named by a text: "strided".'
        )
    if is_of_file(name):
        return from_file(name, PatternFactory)
    place, _, pattern = name.rpartition(":")
    return _from_plugin(place, pattern) if place else _from_any_plugin(name)


def is_of_file(name: str) -> bool:
    """Return whether a name is that of a file, or of what a file declares: `mine.py`, `mine.py:ring`."""
    return name.endswith(".py") or name.rpartition(":")[0].endswith(".py")


def from_file(name: str, kind: type[Declared]) -> Declared:
    """Return the pattern or score `name`, as in `mine.py:ring`; without a colon, the only one of the file."""
    path, _, member = (name, "", "") if name.endswith(".py") else name.rpartition(":")
    found = vars(_module(Path(path), kind)).values()
    declared = {value.name: value for value in found if isinstance(value, kind)}
    if not member and len(declared) == 1:
        return next(iter(declared.values()))
    return _member(declared, member, f"File {path!r}", kind)


def factories() -> list[tuple[str, PatternFactory]]:
    """Return (plugin name, pattern) for all patterns of all plugins that load, sorted."""
    found = [(result.plugin.name, p) for result in plugins.loaded() for p in result.patterns.values()]
    return sorted(found, key=lambda pair: (pair[0], pair[1].name))


def parse_parameters(declared: Declaration, texts: Sequence[str]) -> dict[str, Any]:
    """Return parameters from texts such as `window=256`, `causal=true`, `ids=0,0,1` or `ids=@ids.npy`."""
    known = {parameter.name: parameter for parameter in declared.parameters}
    values: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise ParameterError(
                f"Parameter {text!r}.", rule="Parameters are written name=value.", fix="As in -p l=128."
            )
        if name not in known:
            raise ParameterError(
                f"{declared.kind.capitalize()} {declared.name!r} has no parameter {name!r}.",
                rule=f"It is declared as {declared.signature}.",
                fix=nearest(name, known),
            )
        values[name] = _parsed(known[name], value)
    return values


def _parsed(parameter: Parameter, text: str) -> Any:
    if parameter.type is Table:
        return _parsed_table(parameter.name, text)
    if parameter.type is bool and text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return (float if parameter.type is float else int)(text)
    except ValueError:
        expected = {bool: "true or false", int: "an integer", float: "a number"}[parameter.type]
        raise ParameterError(f"{parameter.name}={text}.", rule=f"Parameter {parameter.name!r} is {expected}.") from None


def _parsed_table(name: str, text: str) -> Table:
    if not text.startswith("@"):
        try:
            return Table([int(entry) for entry in text.split(",")], name)
        except ValueError:
            raise ParameterError(
                f"{name}={text}.",
                rule="A table is a list of integers, or a file.",
                fix=f"Write {name}=0,0,1,1 or {name}=@{name}.npy.",
            ) from None
    try:
        return Table(np.load(text[1:], allow_pickle=False), name)
    except (OSError, ValueError, EOFError) as error:
        raise TableError(
            f"{text[1:]!r} can't be read as a table: {str(error).rstrip('.')}.",
            rule="A table file is an array of integers or booleans saved by numpy.save.",
        ) from error


def _from_any_plugin(name: str) -> PatternFactory:
    owners = [result.plugin for result in plugins.loaded() if name in result.patterns]
    if len(owners) > 1:
        choices = " or ".join(f"{owner.name}:{name} (of {owner.origin})" for owner in owners)
        raise PluginError(f"Several plugins have a pattern {name!r}.", fix=f"Write {choices}.")
    if owners:
        return plugins.demand(owners[0])[name]
    named = next((plugin for plugin in plugins.plugins() if plugin.name == name), None)
    if named is not None:
        known = plugins.demand(named)
        raise PatternError(f"{name!r} is a plugin.", fix=f"Name one of its patterns: {', '.join(sorted(known))}.")
    raise PatternError(
        f"Unknown pattern {name!r}.",
        rule="Patterns come from installed plugins (see `attncc list`) or from a file, as in mine.py:ring.",
        fix=nearest(name, [pattern.name for _, pattern in factories()]),
    )


def _from_plugin(place: str, name: str) -> PatternFactory:
    installed = {plugin.name: plugin for plugin in plugins.plugins()}
    if place not in installed:
        raise PluginError(
            f"Unknown plugin {place!r}.",
            rule="A plugin is found by the name of its entry point.",
            fix=nearest(place, installed),
        )
    return _member(plugins.demand(installed[place]), name, f"Plugin {place!r}", PatternFactory)


def _member(known: Mapping[str, Declared], name: str, owner: str, kind: type[Declared]) -> Declared:
    if name not in known:
        raise kind.error(
            f"{owner} has no {kind.kind} {name!r}." if name else f"{owner} has {len(known)} {kind.kind}s.",
            rule=f"{kind.kind.capitalize()}s are functions under @attncc.{kind.kind}, named after a colon.",
            fix=nearest(name, known),
        )
    return known[name]


def _module(path: Path, kind: type[Declaration]) -> Any:
    """Import a file under a name of its own, so that it can't shadow an installed module."""
    if not path.is_file():
        raise kind.error(
            f"There is no file {str(path)!r}.", fix="Check the path; it is relative to the current folder."
        )
    name = f"attncc_file_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None  # a .py suffix always has a spec and a loader
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)  # modules beside the file, as when Python runs it
    try:
        with redirect_stdout(sys.stderr):  # what the file prints is no result of attncc's
            spec.loader.exec_module(module)
    except AttnccError:
        raise
    except (Exception, SystemExit) as error:
        raise kind.error(
            f"{str(path)!r} can't be imported: {type(error).__name__}: {error}.",
            rule=f"A {kind.kind} file is a Python module that declares {kind.kind}s.",
            fix=f"Run `python {path}` to see where it fails.",
        ) from error
    finally:
        sys.path.remove(folder)
    return module
