"""Options of `attncc tune`: the fields of attncc.tune.options.TuningOptions, each with its default and description."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import Field, fields
from typing import Annotated, Any, get_type_hints

import typer

from attncc.errors import ConfigError
from attncc.tune.options import ON_TOPOLOGY, TuningOptions

#: Help shows options that mean nothing without --topology under this title.
PANEL = "Options with --topology"
#: What stands for the value of an option that isn't a plain number or text.
METAVARS = {"budget": "TIME", "space": "FILE", "storage": "URL", "mesh": "BxHxS"}


def with_tuning_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for each field of TuningOptions, in place of its `**chosen`."""
    signature = inspect.signature(command, eval_str=True)
    own = [each for each in signature.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
    sizes = next(at for at, each in enumerate(own) if each.name == "topology")
    command.__signature__ = signature.replace(parameters=[*own[:sizes], *_parameters(), *own[sizes:]])  # type: ignore[attr-defined]
    return command


def values_of(chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of TuningOptions that the values of a command's options stand for; raises ConfigError."""
    return {name: TEXTS[name](value) if name in TEXTS and value else value for name, value in chosen.items()}


def _parameters() -> list[inspect.Parameter]:
    types, descriptions = get_type_hints(TuningOptions), _descriptions(TuningOptions)
    return [
        _parameter(each, str | None if each.name in TEXTS else types[each.name], descriptions.get(each.name, ""))
        for each in fields(TuningOptions)
    ]


def _parameter(field: Field[Any], kind: Any, description: str) -> inspect.Parameter:
    names = [f"--{field.name.replace('_', '-')}"]
    panel = PANEL if field.metadata == ON_TOPOLOGY else None
    option = typer.Option(*names, metavar=METAVARS.get(field.name), help=description, rich_help_panel=panel)
    return inspect.Parameter(
        field.name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=field.default, annotation=Annotated[kind, option]
    )


def _descriptions(described: type) -> dict[str, str]:
    """Return what a docstring says of each of its `Attributes:`."""
    _, _, listed = (inspect.getdoc(described) or "").partition("Attributes:\n")
    return {name: " ".join(text.split()) for name, text in re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", listed, re.M)}


def _seconds(text: str) -> float:
    parts = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|h)?", text.strip())
    if parts is None:
        raise ConfigError(f"--budget {text!r}.", rule="It is a time.", fix="For example 90s, 5m or 1h")
    return float(parts[1]) * {"s": 1, "m": 60, "h": 3600}[parts[2] or "s"]


def _mesh(text: str) -> tuple[int, int, int]:
    parts = re.fullmatch(r"([1-9]\d{0,5})x([1-9]\d{0,5})x([1-9]\d{0,5})", text)
    if parts is None:
        raise ConfigError(f"--mesh {text!r}.", rule="It is batch x heads x sequence.", fix="For example 1x2x4")
    return int(parts[1]), int(parts[2]), int(parts[3])


#: Options that are texts on the command line, and what reads them.
TEXTS: Mapping[str, Callable[[str], Any]] = {"budget": _seconds, "mesh": _mesh}
