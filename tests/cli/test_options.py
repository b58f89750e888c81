"""Shared options: completion, help, and values given twice."""

from __future__ import annotations

import inspect
import re

import pytest
from typer.testing import CliRunner

from attncc.backends.triton import aot
from attncc.cli.app import app
from attncc.cli.options import GpuName, PatternName, TopologyName
from attncc.errors import AttnccError


@pytest.mark.parametrize(
    ("option", "typed", "found"),
    [(PatternName, "sliding_w", ["sliding_window"]), (GpuName, "mi30", ["mi300x"]), (TopologyName, "8x", ["8xh100"])],
)
def test_names_complete_from_a_prefix(option: object, typed: str, found: list[str]) -> None:
    (declared,) = option.__metadata__
    assert inspect.signature(declared.autocompletion).parameters.keys() == {"incomplete"}
    assert declared.autocompletion(typed) == found


def test_help_shows_defaults_given_in_words() -> None:
    """In square brackets they would be parsed as markup."""
    for command, says in {"tune": "fp32, on a GPU bf16", "partition": "by the length"}.items():
        shown = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"}).output
        assert says in shown


def test_help_explains_how_tables_are_written() -> None:
    shown = CliRunner().invoke(app, ["show", "--help"], env={"COLUMNS": "200"}).output
    for written in ("ids=0,0,1", "blocks=0;0,1", "ids=@ids.npy"):
        assert written in shown


@pytest.mark.parametrize("command", ["compile", "inspect"])
def test_help_lists_only_supported_element_types(command: str) -> None:
    shown = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"}).output
    (line,) = (line for line in shown.splitlines() if "Element type" in line)
    assert set(re.findall(r"(?:fp|bf)\d+", line)) == set(aot.DTYPES)


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["show", "strided", "-p", "l=8", "-p", "l=9"], "-p l=8 and -p l=9"),
        (
            ["compile", "causal", "--out", "x", "--score", "softcap", "-s", "cap=5", "-s", "cap=5"],
            "-s cap=5 and -s cap=5",
        ),
        (["inspect", "causal", "-c", "atomic=true", "-c", "atomic=false"], "--config atomic=false, and atomic before"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_values_given_twice_are_refused(command: list[str], says: str) -> None:
    error = CliRunner().invoke(app, command).exception
    assert isinstance(error, AttnccError)
    assert says in error.problem
    assert "once" in error.rule
    assert error.fix
