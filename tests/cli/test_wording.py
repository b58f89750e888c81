"""Errors in the terms of the command line, and as JSON with --json."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import attncc
from attncc.cli.wording import command_of, of_options, of_parameters
from attncc.errors import AttnccError
from attncc.frontend.catalog import declared, parse_parameters

PROGRAM = "from attncc.cli import main; main()"
MINE = """
import attncc

@attncc.pattern
def near(i, j, *, w: int):
    return abs(i - j) <= w

mixed = attncc.per_head([near(w=1), near(w=5)])
capped = attncc.softcap(cap=30.0)
"""


def run(*arguments: str, status: int = 2) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROGRAM, *arguments]
    environ = os.environ | {"COLUMNS": "200"}
    found = subprocess.run(command, capture_output=True, text=True, check=False, env=environ)
    assert found.returncode == status, found.stderr
    assert "Traceback" not in found.stderr
    return found


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("plan", "strided", "-n", "-3"), "--seq-len -3."),
        (("plan", "strided", "--tile", "3", "3"), "--tile 3 3."),
        (("show", "strided", "-p", "l=0"), "-p l=0."),
        (("plan", "strided", "--bogus"), "No such option: --bogus"),
    ],
    ids=["length", "pair", "parameter", "usage"],
)
def test_an_error_is_an_object_on_stdout_under_json(arguments: tuple[str, ...], problem: str) -> None:
    found = run(*arguments, "--json")
    error = json.loads(found.stdout)["error"]
    assert error["problem"].startswith(problem)
    assert set(error) == {"problem", "rule", "fix"}
    assert problem.rstrip(".") in found.stderr


def test_without_json_stdout_has_no_error() -> None:
    assert run("plan", "strided", "-n", "-3").stdout == ""


@pytest.mark.parametrize(
    ("name", "texts", "says"),
    [
        ("strided", ["l=0"], "-p l=0."),
        ("strided", ["l=x"], "-p l=x."),
        ("document", [], "Write -p ids=@ids.npy."),
        ("lsh_chunks", [], "Write -p chunks=@chunks.npy -p count=VALUE."),
        ("document", ["ids=a"], "Write -p ids=0,0,1,1 or -p ids=@ids.npy."),
        ("strided", ["8"], "As in -p l=128."),
        ("strided", ["l=1", "l=2"], "-p l=1 and -p l=2."),
    ],
)
def test_parameters_are_named_as_the_user_gives_them(name: str, texts: list[str], says: str) -> None:
    found = attncc.factory(name)
    with pytest.raises(AttnccError) as raised, of_parameters(found, "-p"):
        found(**parse_parameters(found, texts))
    assert says in str(raised.value)


def test_options_are_named_as_the_command_declares_them() -> None:
    options = [("seq_len", ["--seq-len", "-n"]), ("tile", ["--tile"]), ("dtype", ["--dtype"])]
    command = SimpleNamespace(
        params=[SimpleNamespace(name=name, opts=opts, param_type_name="option") for name, opts in options]
    )
    wanted = {
        "q_len=-3.": "--seq-len -3.",
        "seq_len=0.": "--seq-len 0.",
        "tile=(3, 3).": "--tile 3 3.",
        "dtype='fp3'.": "--dtype fp3.",
        "heads=0.": "heads=0.",
        "8 query heads on 3 key heads.": "8 query heads on 3 key heads.",
    }
    assert {text: of_options(AttnccError(text), command).problem for text in wanted} == wanted


def test_arguments_identify_the_command() -> None:
    clear = SimpleNamespace(params=[])
    cache = SimpleNamespace(params=[], commands={"clear": clear})
    app = SimpleNamespace(params=[], commands={"cache": cache})
    assert command_of(app, ["cache", "clear", "--yes"]) is clear
    assert command_of(app, ["cache"]) is cache
    assert command_of(app, ["nothing"]) is app


def test_a_file_may_define_a_pattern_instance(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    mixed = attncc.load(f"{path}:mixed")
    assert mixed.key == declared(f"{path}:mixed").key
    assert attncc.load(str(path), w=2).key == attncc.load(f"{path}:near", w=2).key
    with pytest.raises(attncc.ParameterError, match="is ready"):
        attncc.load(f"{path}:mixed", w=3)
    with pytest.raises(attncc.PatternError, match="is ready"):
        attncc.factory(f"{path}:mixed")
    with pytest.raises(attncc.PatternError, match="Did you mean 'mixed'"):
        attncc.load(f"{path}:mxed")
    found = json.loads(run("plan", f"{path}:mixed", "-n", "64", "--heads", "2", "--json", status=0).stdout)
    assert [group["heads"] for group in found["groups"]] == [[0], [1]]


def test_a_file_with_one_pattern_instance_needs_no_name(tmp_path: Path) -> None:
    path = tmp_path / "one.py"
    path.write_text("import attncc\nmine = attncc.load('strided', l=4)\n")
    assert attncc.load(str(path)).key == attncc.load("strided", l=4).key


def test_a_file_may_define_a_score_instance(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    run("inspect", "causal", "--score", f"{path}:capped", "--stage", "clauses", "-n", "256", "--json", status=0)
