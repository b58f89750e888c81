"""`attncc partition` and `attncc topologies`, as a user runs them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from matplotlib.image import imread

PROGRAM = "from attncc.cli import main; main()"
CAUSAL = ["partition", "causal", "--seq-len", "1024"]
FILE = """
title = "two on a wire"
links = { wire = { alpha = 1e-5, beta = 1e10 } }
nodes = [{ devices = { name = "gpu", count = 2, target = "h100" }, connections = [["gpu0", "gpu1", "wire"]] }]
"""


def run(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, cwd=cwd)


def test_partition_prints_its_choice_reasons_and_baselines() -> None:
    done = run(*CAUSAL, "--topology", "4xrtx4090")
    assert done.returncode == 0, done.stderr
    for said in ("compute balance", "tokens per rank", "the shortest predicted makespan of", "busiest receives",
                 "exposed", "rounds", "striped ring", "ulysses", "usp", "all-gather", "one device"):  # fmt: skip
        assert said in done.stdout
    assert "Figures are simulated on 4xrtx4090, not measured" in " ".join(done.stdout.split())


def test_dense_causal_says_that_exact_exchanges_save_nothing() -> None:
    done = run(*CAUSAL, "--topology", "4xrtx4090", "--partition", "contiguous", "--spread", "1", "--direction", "fwd")
    assert "saves nothing on the busiest rank" in done.stdout
    assert "backward" not in done.stdout


def test_json_lists_every_candidate(tmp_path: Path) -> None:
    png = tmp_path / "picture.png"
    done = run(*CAUSAL, "--topology", "8xh100", "--ranks", "2", "--route", "ring", "--json", "--png", str(png))
    found = json.loads(done.stdout)
    assert found["topology"]["ranks"] == 2
    assert found["simulated"] is True
    assert {each["route"] for each in found["tried"]} == {"ring"}
    assert found["makespan_s"] == min(each["makespan_s"] for each in found["tried"])
    assert found["makespan_s"] == pytest.approx(sum(each["makespan_s"] for each in found["directions"].values()))
    names = [each["name"] for each in found["baselines"]]
    assert names == ["ring", "striped ring", "ulysses", "usp", "all-gather"]
    assert imread(png).shape[1] > 1000


def test_patterns_and_topologies_load_from_files(tmp_path: Path) -> None:
    (tmp_path / "wire.toml").write_text(FILE, encoding="utf-8")
    source = "import attncc\n@attncc.pattern\ndef near(i, j, *, w: int = 4):\n    return abs(i - j) < w\n"
    (tmp_path / "mine.py").write_text(source, encoding="utf-8")
    done = run("partition", "mine.py:near", "-p", "w=8", "-n", "512", "--topology", "wire.toml", "--spread", "1",
               "--partition", "contiguous", "--stages", "1", "--route", "direct", "--json", cwd=tmp_path)  # fmt: skip
    found = json.loads(done.stdout)
    assert found["topology"]["title"] == "two on a wire"
    kappa, unit = 2 * 8 * 64 * 2, found["chosen"]["unit"]
    assert found["directions"]["forward"]["busiest_received_bytes"] == kappa * unit  # 7 keys, rounded up to a unit


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--topology", "8xh200"], "Did you mean '8xh100'?"),
        (["--topology", "8xh100", "--ranks", "9"], "It has 8 devices"),
        (["--topology", "8xh100", "--spread", "16", "--heads", "16"], "16 ranks on the 8 devices"),
        (["--topology", "8xh100", "--dtype", "int8"], "It is one of fp64, fp32, bf16, fp16."),
        (["--topology", "8xh100", "--direction", "up"], "It is one of fwd, bwd, both."),
        (["--topology", "8xh100", "--unit", "100"], "A unit is a power of two"),
    ],
)
def test_impossible_arguments_are_refused(arguments: list[str], said: str) -> None:
    done = run(*CAUSAL, *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_topologies_are_listed() -> None:
    rows = {row["name"]: row for row in json.loads(run("topologies", "--json").stdout)["topologies"]}
    assert (rows["64xh100"]["devices"], rows["64xh100"]["nodes"], rows["64xh100"]["links"]) == (64, 8, 128)
    assert rows["gloo"]["targets"] == ["cpu"]
    assert "4 x RTX 4090" in " ".join(run("topologies").stdout.split())


def test_an_old_name_of_a_partition_is_warned_of_once_in_a_line() -> None:
    done = run(*CAUSAL, "--topology", "8xh100", "--ranks", "2", "--partition", "striped", "--json")
    assert json.loads(done.stdout)["chosen"]["partition"] == "cyclic"
    assert [line for line in done.stderr.splitlines() if "striped" in line] == [
        "warning: The partition 'striped' is called 'cyclic' now."
    ]
