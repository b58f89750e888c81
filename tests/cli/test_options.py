"""Shared options: what they complete to, and that help shows defaults that are in words."""

from __future__ import annotations

import inspect

import pytest
from typer.testing import CliRunner

from attncc.cli import app
from attncc.cli.options import GpuName, PatternName, TopologyName, one_of
from attncc.errors import ConfigError


@pytest.mark.parametrize(
    ("option", "typed", "found"),
    [(PatternName, "stri", ["strided"]), (GpuName, "mi3", ["mi300x"]), (TopologyName, "8x", ["8xh100"])],
)
def test_names_complete(option: object, typed: str, found: list[str]) -> None:
    (declared,) = option.__metadata__
    assert inspect.signature(declared.autocompletion).parameters.keys() == {"incomplete"}
    assert declared.autocompletion(typed) == found


def test_defaults_in_words_are_shown() -> None:
    """Written in square brackets they were taken for markup, and help left them out."""
    for command, says in {"tune": "fp32, on a GPU bf16", "partition": "by the length"}.items():
        shown = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"}).output
        assert says in shown


def test_one_of_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="--direction fwf") as caught:
        one_of("--direction", "fwf", ("fwd", "bwd", "both"))
    assert "fwd" in caught.value.fix
