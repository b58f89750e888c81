"""Options of `attncc tune`: each field of TuningOptions is an option with its default and help, stated once."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

import attncc
from attncc.cli.app import app
from attncc.cli.tuning_options import PANEL, values_of
from attncc.errors import ConfigError
from attncc.tune.autotune import TuningRequest
from attncc.tune.options import TuningOptions

CAUSAL = attncc.load("causal")


def test_each_field_is_an_option_with_its_default_and_help() -> None:
    command: Any = get_command(app)
    options = {each.name: each for each in command.commands["tune"].params}
    for field in fields(TuningOptions):
        option = options[field.name]
        assert option.opts == [f"--{field.name.replace('_', '-')}"]
        assert option.default == field.default
        assert option.help.endswith(".")


def test_options_of_schedules_have_a_panel_of_their_own() -> None:
    shown = CliRunner().invoke(app, ["tune", "--help"], env={"COLUMNS": "200"}).output
    _, _, panel = shown.partition(PANEL)
    assert all(name in panel for name in ("--ranks", "--mesh", "--measure"))
    assert "--heads" not in panel


def test_texts_become_times_and_meshes() -> None:
    chosen = {"budget": "5m", "mesh": "1x2x4", "heads": 2, "trials": None}
    assert values_of(chosen) == {"budget": 300.0, "mesh": (1, 2, 4), "heads": 2, "trials": None}
    for name, text in {"budget": "5 days", "mesh": "4"}.items():
        with pytest.raises(ConfigError, match=f"--{name} '{text}'"):
            values_of({name: text})


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"ranks": 2}, "--ranks without --topology"),
        ({"topology": "gloo", "kv_len": 8}, "--kv-len with --topology"),
        ({"topology": "gloo", "score": attncc.softcap(cap=5.0)}, "--score with --topology"),
        ({"trials": 0}, "trials 0"),
        ({"workers": None}, "workers None"),
        ({"seed": -1}, "seed -1"),
    ],
)
def test_a_request_refuses_options_that_mean_nothing(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        TuningRequest(CAUSAL, 64, **options)
