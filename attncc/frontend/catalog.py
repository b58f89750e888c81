"""The catalogue: patterns by name, from plugins and from files, and parameters from text."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import numpy as np

from attncc._util import foreign
from attncc._util.entry_points import Plugin
from attncc._util.storage import opened
from attncc.errors import AttnccError, ParameterError, PatternError, PluginError, TableError, nearest, told
from attncc.frontend.declarations import Declaration, Parameter
from attncc.frontend.graph_templates import check_untraced
from attncc.frontend.language import Table
from attncc.frontend.lists import Lists
from attncc.frontend.pattern_factory import PatternFactory
from attncc.frontend.patterns import Pattern
from attncc.frontend.plugins import PATTERNS, patterns_of
from attncc.frontend.weights import Weights

Found = TypeVar("Found")
#: What a name stands for: a function that was declared, or a pattern that is ready.
Declared = Pattern | PatternFactory


def load(name: str, **parameters: Any) -> Pattern:
    """Return the pattern `name` with its parameters: `load("strided", l=128)`.

    Args:
        name: A pattern of an installed plugin, "strided"; where two plugins have one of that name,
            "sparse_transformer:strided"; where two plugins have one name, "distribution/plugin:strided". Or a pattern
            of a file, "mine.py:ring". A variable of a file may also hold a finished pattern, which takes no parameters.
        parameters: The values of the declared parameters.

    Raises:
        PatternError: If no plugin or file has the pattern.
        PluginError: If its plugin can't be imported.
        ParameterError: For a value that a parameter can't have.
        TableError: For data that can't be a table.
    """
    check_untraced(name)
    return made(declared(name), name, parameters)


def factory(name: str) -> PatternFactory:
    """Return the declared pattern `name`.

    Args:
        name: As `load` takes it.

    Raises:
        PatternError: If no plugin or file has the pattern.
        PluginError: If its plugin can't be imported.
    """
    found = declared(name)
    if isinstance(found, Pattern):
        raise PatternError(
            f"{name!r} is a pattern that is ready, {found!r}.",
            rule="What takes parameters is a function under @attncc.pattern.",
            fix=f"Use attncc.load({name!r}).",
        )
    return found


def made(found: Declared, name: str, parameters: Mapping[str, Any]) -> Pattern:
    """Return what was found by a name with its parameters; a pattern that is ready takes none."""
    if isinstance(found, PatternFactory):
        return found(**parameters)
    if parameters:
        raise ParameterError(
            f"Pattern {name!r} is ready, and was given {', '.join(parameters)}.",
            rule="Parameters are for a declared pattern, a function under @attncc.pattern.",
            fix="Leave them out.",
        )
    return found


def declared(name: str) -> Declared:
    """Return the pattern `name`, declared or ready; see `load` for the forms of names."""
    if not isinstance(name, str):
        raise PatternError(
            f"The name {name!r} ({type(name).__name__}).",
            rule='Patterns are named by a text: "strided".',
            fix="Give the name, or call the pattern that you have: strided(l=8).",
        )
    place, _, pattern = name.rpartition(":")
    if pattern.endswith(".py") or (not place and name.endswith(".py")):
        return _from_file(Path(name), "")
    if place.endswith(".py"):
        return _from_file(Path(place), pattern)
    return _from_plugin(place, pattern) if place else _from_any_plugin(name)


def factories() -> list[tuple[str, PatternFactory]]:
    """Return (plugin reference, pattern) for all patterns of all plugins that load, sorted."""
    found = [(result.plugin.reference, p) for result in PATTERNS.loaded() for p in (result.content or {}).values()]
    return sorted(found, key=lambda pair: (pair[0], pair[1].name))


def parse_parameters(owner: Declaration, texts: Sequence[str]) -> dict[str, Any]:
    """Return parameters from texts such as `window=256`, `cap=0.5`, `causal=true`, `ids=0,0,1` or `ids=@ids.npy`.

    Weights, `slopes=8`, `weights=8x32` or `cap=scalar` (their shape, with drawn values) or `slopes=@slopes.npy`, come
    as arrays.
    """
    said, values = dict[str, str](), dict[str, Any]()
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise ParameterError(
                f"Parameter {text!r}.", rule="Parameters are written name=value.", fix="As in -p l=128."
            )
        if name in said:
            raise ParameterError(
                f"{said[name]} and {text}.", rule="A parameter is given once.", fix="Leave one of the two out."
            )
        said[name], values[name] = text, _parsed(owner.parameter(name), value)
    return values


def _parsed(parameter: Parameter, text: str) -> Any:
    if parameter.type in (Table, Lists):
        return _parsed_table(parameter, text)
    if parameter.type is Weights:
        return _loaded_weights(text) if text.startswith("@") else _drawn(parameter.name, text)
    if parameter.type is bool and text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return float(text) if parameter.type is float else int(text)
    except ValueError:
        expected = {bool: "true or false", float: "a number", int: "an integer"}[parameter.type]
        raise ParameterError(
            f"{parameter.name}={text}.",
            rule=f"Parameter {parameter.name!r} is {expected}.",
            fix=f"Declared as {parameter}.",
        ) from None


def _parsed_table(parameter: Parameter, text: str) -> Any:
    name = parameter.name
    if text.startswith("@"):
        return parameter.checked(_loaded(text, "a table", "integers or booleans"))
    try:
        rows = [[int(entry) for entry in row.split(",")] for row in text.split(";")]
    except ValueError:
        raise ParameterError(
            f"{name}={text}.",
            rule="A table is a list of integers, lists are several with ; between them, and either may be a file.",
            fix=f"Write {name}=0,0,1,1 or {name}=@{name}.npy.",
        ) from None
    return parameter.checked(rows[0] if parameter.type is Table and len(rows) == 1 else rows)


def _drawn(name: str, text: str) -> Any:
    """Return weights of a shape written 8x32, or scalar, from a normal distribution, the same each time; float32."""
    sizes = [] if text == "scalar" else text.split("x")
    if not all(size.isdecimal() and int(size) > 0 for size in sizes):
        raise ParameterError(
            f"{name}={text}.",
            rule="Weights are given by their shape, or a file.",
            fix=f"Write {name}=8, {name}=8x32, {name}=scalar or {name}=@{name}.npy.",
        )
    return np.asarray(np.random.default_rng(0).standard_normal([int(size) for size in sizes], np.float32))


def _loaded_weights(text: str) -> Any:
    found = _loaded(text, "weights", "numbers")
    if found.dtype.kind not in "biuf":
        raise TableError(
            f"{text[1:]!r} has entries of type {found.dtype}.",
            rule="Weights are real numbers.",
            fix="Save them again with numpy.save, as float32.",
        )
    return found


def _loaded(text: str, what: str, entries: str) -> Any:
    try:
        with opened(Path(text[1:])) as file:
            return np.lib.format.read_array(file, allow_pickle=False)  # one array, and no archive of them
    except Exception as error:  # numpy reads the header as Python, and raises whatever its parser does
        said = error.strerror if isinstance(error, OSError) else _reason(error)
        raise TableError(
            f"{text[1:]!r} can't be read as {what}: {said}.",
            rule=f"Such a file is an array of {entries} saved by numpy.save.",
            fix="Check the path, or save it again with numpy.save.",
        ) from error


def _reason(error: Exception) -> str:
    """Return why numpy refuses a file; what it says of pickles is about files that aren't its own, too."""
    if isinstance(error, MemoryError):
        return "it says that it is larger than the memory"
    return error.problem.rstrip(".") if isinstance(error, AttnccError) else "it is not what numpy writes"


def _from_any_plugin(name: str) -> PatternFactory:
    owners = [result.plugin for result in PATTERNS.loaded() if name in (result.content or {})]
    if owners:
        return _only(owners, name)
    named = [plugin for plugin in PATTERNS.plugins() if plugin.answers_to(name)]
    if named:
        known = sorted({pattern for plugin in named for pattern in PATTERNS.demand(plugin)})
        fix = f"Name one of its patterns: {', '.join(known)}." if known else "It declares no patterns."
        raise PatternError(f"{name!r} is a plugin.", fix=fix)
    raise PatternError(
        f"Unknown pattern {name!r}.",
        rule="Patterns come from installed plugins (see `attncc list`) or from a file, as in mine.py:ring.",
        fix=nearest(name, [pattern.name for _, pattern in factories()]),
    )


def _from_plugin(place: str, name: str) -> PatternFactory:
    found = PATTERNS.answering(place)
    owners = [plugin for plugin in found if name in (PATTERNS.load(plugin).content or {})]
    if owners:
        return _only(owners, name)
    patterns = {key: pattern for plugin in found for key, pattern in PATTERNS.demand(plugin).items()}
    return member(patterns, name, f"Plugin {place!r}", PatternFactory)


def _only(owners: Sequence[Plugin], name: str) -> PatternFactory:
    """Return the pattern that plugins have by a name; they may share one, as where it moved from one to another.

    Raises PluginError that says how each of several is asked for.
    """
    first, *others = (PATTERNS.demand(owner)[name] for owner in owners)
    if any(other is not first for other in others):
        choices = " or ".join(f"{owner.reference}:{name} (of {owner.origin})" for owner in owners)
        raise PluginError(f"Several plugins have a pattern {name!r}.", fix=f"Write {choices}.")
    return first


def _from_file(path: Path, name: str) -> Declared:
    module = module_of(path)
    functions: dict[str, Declared] = {**patterns_of(module)}
    ready: dict[str, Declared] = {key: value for key, value in vars(module).items() if isinstance(value, Pattern)}
    alone = [] if name else [found for found in (functions, ready) if len(found) == 1]
    return member(alone[0] if alone else ready | functions, name, f"File {str(path)!r}", PatternFactory)


def member(known: Mapping[str, Found], name: str, owner: str, kind: type[Declaration]) -> Found:
    """Return what an owner has by a name, or without a name, the only one; raises the error of its kind."""
    if not name and len(known) == 1:
        return next(iter(known.values()))
    if name not in known:
        raise kind.error(
            f"{owner} has no {kind.kind} {name!r}." if name else f"{owner} has {len(known)} {kind.kind}s.",
            rule=f"They are functions under @attncc.{kind.kind}, or what calling one returned, named after a colon.",
            fix=nearest(name, known),
        )
    return known[name]


def module_of(path: Path) -> ModuleType:
    """Import a file of patterns or scores under a name of its own, so that it can't shadow an installed module."""
    if not path.is_file():
        raise PatternError(
            f"There is no file {str(path)!r}.", fix="Check the path; it is relative to the current folder."
        )
    name = f"attncc_file_{hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:16]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None  # a .py suffix always has a spec and a loader
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)  # modules beside the file, as when Python runs it
    try:
        with foreign.running(f"The file {str(path)!r}"):
            spec.loader.exec_module(module)
    except (AttnccError, KeyboardInterrupt):
        raise
    except foreign.TooLong:
        raise PatternError(
            f"{str(path)!r} took more than {foreign.timeout():g} s to import.",
            rule=f"It is interrupted after the seconds of {foreign.TIMEOUT}.",
            fix=f"Run `python {path}` to see where it hangs, or set {foreign.TIMEOUT} to a longer time.",
        ) from None
    except BaseException as error:  # exits, and panics of compiled extensions, aren't Exceptions
        raise PatternError(
            f"{str(path)!r} can't be imported: {told(error)}.",
            rule="A pattern file is a Python module that declares patterns.",
            fix=f"Run `python {path}` to see where it fails.",
        ) from error
    finally:
        sys.path.remove(folder)
    return module
