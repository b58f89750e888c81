"""Errors in the words of the command line: its options, where the library names parameters of its functions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from attncc.errors import AttnccError, ParameterError, TableError

if TYPE_CHECKING:
    from attncc.frontend.declarations import Declaration

#: What the library calls an option that has another name here.
_ALSO = {"q_len": "seq_len"}
#: Types of parameters that mostly come from files.
_TABLES = ("Table", "Lists")
#: A problem that is a parameter and its value: `q_len=-3.`, `tile=(3, 3).`, `dtype='fp3'.`
_VALUE = re.compile(r"(\w+)=(.+)\.")


@contextmanager
def of_parameters(declared: Declaration, flag: str) -> Iterator[None]:
    """Raise what is wrong with the parameters of a declaration as they are written here, `-p l=8`."""
    try:
        yield
    except (ParameterError, TableError) as error:
        names = "|".join(re.escape(each.name) for each in declared.parameters)
        tables = {each.name for each in declared.parameters if each.type.__name__ in _TABLES}
        call = re.compile(rf"\b{re.escape(declared.name)}\(([^()]*=(?:VALUE|@\w+\.npy))\)")
        given = re.compile(rf"(?<![-\w.(])(?:{flag} )?({names or '(?!)'})=")

        def written(text: str) -> str:
            text = re.sub(
                r"(\w+)=\.\.\.", lambda it: f"{it[1]}=@{it[1]}.npy" if it[1] in tables else f"{it[1]}=VALUE", text
            )
            return given.sub(rf"{flag} \1=", call.sub(lambda matched: matched[1].replace(",", ""), text))

        raise type(error)(written(error.problem), rule=error.rule, fix=written(error.fix)) from error


def of_options(error: AttnccError, command: Any) -> AttnccError:
    """Return an error about a parameter as one about the option of a command that gave it: `--seq-len -3.`"""
    value = _VALUE.fullmatch(error.problem)
    option = None if value is None else _options(command).get(_ALSO.get(value[1], value[1]))
    if value is None or option is None:
        return error
    return AttnccError(f"{option} {_unquoted(value[2])}.", rule=error.rule, fix=error.fix)


def command_of(app: Any, arguments: Sequence[str]) -> Any:
    """Return the command, or the group of commands, that the arguments name."""
    command = app
    for argument in arguments:
        if argument in getattr(command, "commands", {}):
            command = command.commands[argument]
    return command


def _options(command: Any) -> dict[str, str]:
    """Return the longest spelling of each option of a command, by the name of its parameter."""
    options = [each for each in command.params if each.param_type_name == "option"]
    return {each.name: max(each.opts, key=len) for each in options}


def _unquoted(value: str) -> str:
    """Return a value as it is typed: without quotes, and a pair as two words."""
    return re.sub(r"[()',]", "", value)
