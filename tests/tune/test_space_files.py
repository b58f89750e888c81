"""Files of search spaces: their contents, how a user's file extends the shipped ones, and refusals."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from attncc.errors import ConfigError
from attncc.tune import space_files
from attncc.tune.space import Space
from attncc.tune.tunables import backend_tunables


def written(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text)
    return path


def load(backend: str, direction: str, extra: Path | None = None) -> Space:
    return space_files.load(backend_tunables(backend), direction, extra)


def test_user_files_replace_and_add(tmp_path: Path) -> None:
    text = """
    title = "Mine"
    [parameters]
    "forward.query_tile" = [7, 8, 128]
    [[constraints]]
    rule = "forward.query_tile > 7"
    why = "Seven is odd."
    [[seeds]]
    "forward.query_tile" = 8
    """
    plain = load("torch", "forward")
    found = load("torch", "forward", written(tmp_path, text))
    assert found.parameters == {**plain.parameters, "forward.query_tile": (7, 8, 128)}
    assert list(found.parameters) == list(plain.parameters)
    assert [each.rule for each in found.constraints[len(plain.constraints) :]] == ["forward.query_tile > 7"]
    assert found.seeds[0] == {"forward.query_tile": 8}
    assert found.seeds[1:] == tuple(each for each in plain.seeds if each.get("forward.query_tile", 128) == 128)


def test_user_files_may_add_parameters(tmp_path: Path) -> None:
    text = '[parameters]\nprecision = ["ieee", "tf32"]\natomic = [false, true]'
    for direction in ("forward", "backward"):
        found = load("triton", direction, written(tmp_path, text))
        assert (found.parameters["precision"], found.parameters["atomic"]) == (("ieee", "tf32"), (False, True))


def test_one_file_may_cover_both_directions(tmp_path: Path) -> None:
    text = """
    parameters = { "forward.chunk" = [1024], "backward.chunk" = [2048] }
    constraints = [{ rule = "backward.chunk < 5000" }, { rule = "default.forward.chunk > 1" }, { rule = "q_len > 1" }]
    seeds = [{ "forward.chunk" = 1024, "backward.chunk" = 2048 }, { "backward.chunk" = 2048 }]
    """
    file = written(tmp_path, text)
    forward, backward = (load("torch", direction, file) for direction in ("forward", "backward"))
    assert forward.parameters["forward.chunk"] == (1024,)
    assert backward.parameters["backward.chunk"] == (2048,)
    assert [each.rule for each in forward.constraints[-2:]] == ["default.forward.chunk > 1", "q_len > 1"]
    assert [each.rule for each in backward.constraints[-2:]] == ["backward.chunk < 5000", "q_len > 1"]
    assert forward.seeds[0] == {"forward.chunk": 1024}
    assert backward.seeds[:2] == ({"backward.chunk": 2048}, {"backward.chunk": 2048})


def test_files_of_the_other_direction_change_nothing(tmp_path: Path) -> None:
    file = written(tmp_path, 'direction = "backward"\n[parameters]\n"backward.chunk" = [2048]')
    assert load("torch", "forward", file) == load("torch", "forward")
    assert load("torch", "backward", file).parameters["backward.chunk"] == (2048,)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("parameters = [", "it is not valid TOML"),
        ("a = " + "[" * 5000, "it is not valid TOML"),
        ("a = " + "9" * 5000, "it is not valid TOML"),
        ("[parameters]\n'forward.chunk' = [1]\n'forward.chunk' = [2]", "it is not valid TOML"),
        ("parameter = 1", "unknown key 'parameter'"),
        ("title = 1", "title = 1"),
        ("direction = 'fwd'", "direction = 'fwd'"),
        ("parameters = 1", r"\[parameters\] holds '1'"),
        ("[parameters]\nchunk = [1]", "unknown parameter 'chunk'"),
        ("[parameters]\n'forward.block_m' = [16]", r"unknown parameter 'forward\.block_m'"),
        ("[parameters]\n'forward.chunk' = []", r"'forward\.chunk' = \[\]"),
        ("[parameters]\n'forward.chunk' = 4", r"'forward\.chunk' = 4"),
        ("[parameters]\n'forward.chunk' = [4, 4]", r"'forward\.chunk' = \[4, 4\]"),
        ("[parameters]\n'forward.chunk' = [8, 4]", r"'forward\.chunk' = \[8, 4\]"),
        ("[parameters]\n'forward.chunk' = [0]", r"'forward\.chunk' has 0"),
        ("[parameters]\n'forward.chunk' = [2147483648]", r"'forward\.chunk' has 2147483648"),
        ("seeds = [{ 'forward.chunk' = 99999999999 }]", r"'forward\.chunk' has 99999999999"),
        ("[parameters]\n'forward.chunk' = [1.5]", r"'forward\.chunk' has 1\.5"),
        ("[parameters]\n'forward.chunk' = [true]", r"'forward\.chunk' has True"),
        ("[parameters]\n'forward.chunk' = [[1]]", r"'forward\.chunk' has \[1\]"),
        ("[parameters]\n'forward.plan' = ['split', 'whole']", r"'forward\.plan' has 'whole'"),
        ("[parameters]\n'forward.plan' = [{}]", r"'forward\.plan' has {}"),
        ("[parameters]\n'forward.tile_m' = [48]", r"'forward\.tile_m' has 48"),
        ("[parameters]\n'forward.chunk' = [" + ", ".join(map(str, range(1, 1002))) + "]", "'forward.chunk' = "),
        ("direction = 'forward'\n[parameters]\n'backward.chunk' = [1]", "unknown parameter 'backward.chunk'"),
        ("constraints = 1", "constraints = 1"),
        ("constraints = [1]", r"\[\[constraints\]\] holds '1'"),
        ("constraints = [{ why = 'x' }]", "constraint {'why': 'x'}"),
        ("constraints = [{ rule = 'q_len > 1', why = 1 }]", "constraint "),
        ("constraints = [{ rule = 'q_len > 1', because = 'x' }]", "unknown key 'because'"),
        ("constraints = [{ rule = 1 }]", "rule 1: It is not a text"),
        ("constraints = [{ rule = 'q_len.real > 1' }]", "Unknown name 'q_len.real'"),
        ("constraints = [{ rule = 'qlen > 1' }]", "Unknown name 'qlen'"),
        ("seeds = [{ 'forward.chunk' = 3 }]", r"a seed has 'forward\.chunk' = 3"),
        ("seeds = [{ 'forward.chunk' = -3 }]", r"'forward\.chunk' has -3"),
        ("seeds = [{ chunk = 3 }]", "unknown parameter 'chunk'"),
    ],
)
def test_invalid_files_are_refused(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as raised:
        load("torch", "forward", written(tmp_path, text))
    assert raised.value.problem.startswith(str(tmp_path / "mine.toml"))
    assert raised.value.rule


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="it can't be read"):
        load("torch", "forward", tmp_path / "missing.toml")
    os.mkfifo(tmp_path / "pipe")
    for other in (tmp_path, tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(ConfigError, match="isn't a regular file"):
            load("torch", "forward", other)
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="it is not valid TOML"):
        load("torch", "forward", binary)
    large = written(tmp_path, "#" * (space_files.LARGEST + 1))
    with pytest.raises(ConfigError, match="has 1,048,577 bytes"):
        load("torch", "forward", large)


def test_parameters_in_two_shipped_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = written(tmp_path, '[parameters]\n"forward.chunk" = [1]')
    second = tmp_path / "other.toml"
    second.write_text('[parameters]\n"forward.chunk" = [2]')
    monkeypatch.setattr(space_files, "shipped", lambda name: [first, second])
    with pytest.raises(ConfigError, match=r"other\.toml: 'forward\.chunk' = \[2\] is in .*mine\.toml too"):
        load("torch", "forward")


@pytest.mark.parametrize("backend", ["reference", "tritn"])
def test_backends_without_tunables_are_refused(backend: str) -> None:
    with pytest.raises(ConfigError, match=f"Backend '{backend}' can't be tuned"):
        load(backend, "forward")


def test_names_depend_on_the_direction() -> None:
    assert "query_gradient.block_m" in backend_tunables("triton").names("backward")
    assert "query_gradient.block_m" not in backend_tunables("triton").names("forward")
    assert {"precision", "atomic"} < set(backend_tunables("triton").names("forward"))
    both = {*backend_tunables("torch").names("forward"), *backend_tunables("torch").names("backward")}
    assert both == set(backend_tunables("torch").names())
