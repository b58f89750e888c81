"""Patterns by name: from plugins, from files, and parameters from text."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

import attncc
from attncc._util import foreign
from attncc.errors import ParameterError, PatternError, PluginError, TableError
from attncc.frontend.catalog import factories, factory, parse_parameters

MINE = """
import attncc

@attncc.pattern
def ring(i, j, *, w: int = 4):
    \"\"\"A ring.\"\"\"
    return abs(i - j) < w

@attncc.pattern
def other(i, j):
    return j <= i
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(MINE, encoding="utf-8")
    return path


def test_shipped_patterns_load_by_name() -> None:
    names = {pattern.name for _, pattern in factories()}
    assert names >= {"full", "causal", "sliding_window", "dilated_window", "prefix", "document", "block_diagonal"}
    assert names >= {"strided", "fixed"}
    assert attncc.load("strided", l=4) == attncc.load("sparse_transformer:strided", l=4)


def test_patterns_load_from_a_file(mine: Path) -> None:
    assert attncc.load(f"{mine}:ring", w=2).name == "ring"
    assert factory(f"{mine}:other").parameters == ()


def test_a_file_with_one_pattern_needs_no_name(tmp_path: Path) -> None:
    path = tmp_path / "math.py"  # and shadows nothing
    path.write_text("import attncc, math\n@attncc.pattern\ndef only(i, j): return i - j < math.gcd(4, 6)\n")
    assert attncc.load(str(path)).name == "only"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("import nothing_of_this_name", "ModuleNotFoundError"),
        ("raise SystemExit(3)", "SystemExit"),
        ("def x(:", "SyntaxError"),
        ("1 / 0", "ZeroDivisionError"),
        ("x = 3", "has 0 patterns"),
    ],
)
def test_files_that_fail_to_import_are_refused(tmp_path: Path, content: str, says: str) -> None:
    path = tmp_path / "broken.py"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(PatternError, match=says):
        factory(str(path))


def test_files_may_import_their_neighbours_and_print(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "neighbour_of_mine.py").write_text("WIDTH = 4", encoding="utf-8")
    text = "from neighbour_of_mine import WIDTH\nimport attncc\nprint('hello')\n"
    text += "@attncc.pattern\ndef near(i, j):\n    return abs(i - j) < WIDTH\n"
    (tmp_path / "mine.py").write_text(text, encoding="utf-8")
    before = list(sys.path)
    assert attncc.plan(factory(str(tmp_path / "mine.py"))(), 9).nnz == 51
    assert capsys.readouterr().out == ""
    assert sys.path == before


@pytest.mark.parametrize(
    ("name", "error", "says"),
    [
        ("stridde", PatternError, "Did you mean 'strided'"),
        ("basic", PatternError, "is a plugin"),
        ("basics:full", PluginError, "Did you mean 'basic'"),
        ("basic:ful", PatternError, "Did you mean 'full'"),
        ("nowhere.py:ring", PatternError, "no file"),
        ("", PatternError, "Unknown pattern"),
        (3, PatternError, "named by a text"),
    ],
)
def test_unknown_names_are_refused(name: str, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        factory(name)


def test_unknown_names_in_a_file_are_refused(mine: Path) -> None:
    with pytest.raises(PatternError, match="Did you mean 'ring'"):
        factory(f"{mine}:rong")


def test_parameters_parse_from_text(tmp_path: Path) -> None:
    np.save(tmp_path / "ids.npy", np.array([0, 0, 1]))
    assert parse_parameters(factory("fixed"), ["l=16", "c=2"]) == {"l": 16, "c": 2}
    document = factory("document")
    written, saved = (parse_parameters(document, [text]) for text in ("ids=0,0,1", f"ids=@{tmp_path / 'ids.npy'}"))
    assert document(**written) == document(**saved)


@pytest.mark.parametrize(
    ("name", "text", "error", "says"),
    [
        ("fixed", "l", ParameterError, "name=value"),
        ("fixed", "k=3", ParameterError, "no parameter 'k'"),
        ("fixed", "l=3.5", ParameterError, "an integer"),
        ("document", "ids=a,b", ParameterError, "list of integers"),
        ("document", "ids=@nowhere.npy", TableError, "can't be read"),
    ],
)
def test_invalid_parameters_are_refused(name: str, text: str, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        parse_parameters(factory(name), [text])


def test_table_files_with_objects_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "evil.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(TableError, match="can't be read"):
        parse_parameters(factory("document"), [f"ids=@{path}"])


def test_contradictory_parameters_are_refused() -> None:
    with pytest.raises(ParameterError, match=r"c \* subblocks <= l"):
        attncc.load("fixed", l=4, c=5)


@pytest.mark.parametrize("kind", ["pipe", "text", "folder", "missing"])
def test_table_files_that_are_not_npy_are_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "ids.npy"
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "text":
            path.write_text("0 0 1 1")
        case "folder":
            path.mkdir()
    says = {
        "pipe": "a regular file",
        "text": "not what numpy writes",
        "folder": "a regular file",
        "missing": "No such",
    }
    with pytest.raises(TableError, match=f"can't be read as a table: .*{says[kind]}") as raised:
        parse_parameters(factory("document"), [f"ids=@{path}"])
    assert raised.value.fix


def _npy(descr: object, shape: tuple[int, ...], data: bytes = b"") -> bytes:
    header = str({"descr": descr, "fortran_order": False, "shape": shape}).encode()
    return b"\x93NUMPY\x01\x00" + (len(header) + 1).to_bytes(2, "little") + header + b"\n" + data


ODD = {
    "an archive": b"PK\x03\x04" + b"x" * 100,
    "more than the memory": _npy("<i8", (1 << 50,)),
    "more than it holds": _npy("<i8", (100,), b"\0" * 8),
    "a negative size": _npy("<i8", (-5,)),
    "a size beyond int64": _npy("<i8", (1 << 63, 1 << 63)),
    "objects": _npy("|O", (2,), b"\0" * 8),
    "records": _npy([("a", "<i4")], (2,), b"\0" * 8),
    "texts": _npy("<U4", (2,), b"\0" * 32),
    "times": _npy("<M8[s]", (1,), b"\0" * 8),
    "a bracket that stays open": _npy("<i8", (2,), b"\0" * 16).replace(b")", b"("),
    "nothing": b"",
}


@pytest.mark.parametrize("kind", ["table", "weights"])
@pytest.mark.parametrize("name", ODD)
def test_malformed_npy_files_are_refused(tmp_path: Path, name: str, kind: str) -> None:
    path = tmp_path / "odd.npy"
    path.write_bytes(ODD[name])
    declared, parameter = (factory("document"), "ids") if kind == "table" else (attncc.alibi, "slopes")
    with pytest.raises(TableError):
        parse_parameters(declared, [f"{parameter}=@{path}"])


@pytest.mark.parametrize("source", ["import time\ntime.sleep(600)", "class P(BaseException): pass\nraise P('oh')"])
def test_files_that_hang_or_panic_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    monkeypatch.setenv(foreign.TIMEOUT, "0.2")
    (tmp_path / "mine.py").write_text(source, encoding="utf-8")
    with pytest.raises(PatternError, match=r"took more than 0\.2 s|P: oh"):
        factory(f"{tmp_path / 'mine.py'}:ring")


def test_errors_without_a_message_are_named_by_type(tmp_path: Path) -> None:
    source = "import attncc\nclass Mute(Exception):\n    def __str__(self): raise SystemExit(3)\n"
    source += "@attncc.pattern\ndef mute(i, j):\n    raise Mute\n"
    (tmp_path / "mine.py").write_text(source, encoding="utf-8")
    with pytest.raises(PatternError, match="'mute' raised Mute: <a Mute that has no text>"):
        attncc.load(f"{tmp_path / 'mine.py'}:mute")
