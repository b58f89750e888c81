"""The command line, as a user runs it: results on stdout, messages on stderr, no traceback without --debug."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import attncc
from attncc.cli.listing import list_patterns
from attncc.cli.output import show, table
from attncc.frontend.catalog import factories

PROGRAM = "from attncc.cli import main; main()"


def run(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROGRAM, *arguments]
    compiling = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, env=compiling)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("patterns")
    source = "import attncc\n@attncc.pattern\ndef ring(i, j, *, w: int = 4):\n    return abs(i - j) < w\n"
    source += "@attncc.score\ndef capped(score, *, cap: float):\n    return cap * attncc.tanh(score / cap)\n"
    (folder / "mine.py").write_text(source, encoding="utf-8")
    (folder / "afile").write_text("in the way", encoding="utf-8")
    return folder


#: Kernels that compile fast.
SMALL = ["--head-dim", "16", "-c", "forward.block_m=32", "-c", "forward.block_n=16", "-c", "forward.num_warps=1"]
JSON = {
    "list": (["list"], lambda found: "strided" in {row["name"] for row in found["patterns"]}),
    "show": (["show", "fixed", "-p", "l=16", "-p", "c=4"], lambda found: len(found["sets"]) == 2),
    "show a file": (["show", "mine.py:ring", "-p", "w=2"], lambda found: "i − 1 ≤ j ≤ i + 1" in found["sets"][0]),
    "show a page": (["show", "fixed", "--html", "fixed.html"], lambda found: found["html"] == "fixed.html"),
    "show a length": (["show", "sliding_window"], lambda found: found["seq_len"] == 1024),
    "plan": (["plan", "strided", "--seq-len", "4096"], lambda found: found["edges"] == 579_648),
    "plan for a target": (["plan", "causal", "-n", "256", "--target", "h100"], lambda found: found["target"] == "h100"),
    "verify": (
        ["verify", "strided", "-p", "l=8"],
        lambda found: all(f["verdict"] == "proved" for f in found["findings"]),
    ),
    "doctor": (["doctor"], lambda found: found["backends"]["torch"] == "available"),
    "plugins": (["plugins", "doctor"], lambda found: not any(row["traceback"] for row in found["plugins"])),
    "targets": (["targets"], lambda found: "h100" in {row["name"] for row in found["targets"]}),
    "one target": (["targets", "sm_90"], lambda found: found["targets"][0]["gpu"]["multiprocessors"] == 132),
    "inspect clauses": (
        ["inspect", "strided", "-p", "l=128", "--stage", "clauses"],
        lambda found: len(found["clauses"]) == 2,
    ),
    "inspect triton": (
        ["inspect", "causal", "--seq-len", "512"],
        lambda found: "def forward(" in found["kernels"][0]["text"],
    ),
    "inspect mix": (
        ["inspect", "causal", "--stage", "mix", "--seq-len", "512", *SMALL],
        lambda found: found["kernels"][0]["throughput"]["full runs"]["flops"] > 0,
    ),
    "compile": (
        ["compile", "causal", "--no-backward", "--seq-len", "512", "--out", "compiled", *SMALL],
        lambda found: any(name.endswith(".cubin") for name in found["files"]),
    ),
    "compile a score": (
        ["compile", "causal", "--no-backward", "-n", "512", "--score", "alibi", "-s", "slopes=1", "--out", "x", *SMALL],
        lambda found: found["manifest"]["weights"][0]["name"] == "slopes",
    ),
    "inspect a score of a file": (
        ["inspect", "causal", "--seq-len", "512", "--score", "mine.py:capped", "-s", "cap=2.5"],
        lambda found: "2.5" in found["kernels"][0]["text"],
    ),
    "bench": (
        ["bench", "strided", "--seq-len", "512", "--heads", "2", "--rounds", "1"],
        lambda found: found["dense_baseline"] == "causal" and max(found["largest_error"].values()) < 1e-4,
    ),
    "bench at several lengths": (
        ["bench", "strided", "--sweep", "-n", "128", "--heads", "1", "--rounds", "1", "--png", "sweep.png"],
        lambda found: [point["seq_len"] for point in found["points"]] == [64, 128] and found["png"] == "sweep.png",
    ),
}


@pytest.mark.parametrize("name", JSON)
def test_json_is_one_object_on_stdout(name: str, folder: Path) -> None:
    arguments, holds = JSON[name]
    found = run(*arguments, "--json", cwd=folder)
    assert found.returncode == 0, found.stderr
    assert holds(json.loads(found.stdout))


@pytest.mark.parametrize("name", JSON)
def test_text_output_succeeds_without_json(name: str, folder: Path) -> None:
    found = run(*JSON[name][0], cwd=folder)
    assert found.returncode == 0, found.stderr
    assert found.stdout.strip()


def test_plan_times_building_planning_and_counting_separately(folder: Path) -> None:
    found = json.loads(run("plan", "strided", "--seq-len", "4096", "--json", cwd=folder).stdout)
    times = [found[f"{step}_seconds"] for step in ("build", "plan", "count")]
    assert all(isinstance(time, float) and time > 0 for time in times)
    shown = run("plan", "strided", "--seq-len", "4096", cwd=folder).stdout
    assert all(label in shown for label in ("pattern built in", "planned in", "edges counted in"))


@pytest.mark.parametrize("command", ["plan", "show"])
def test_tables_longer_than_the_sequence_are_noted(command: str, folder: Path) -> None:
    arguments = (command, "document", "-p", "ids=0,0,1,1,2,2,3,3", "--seq-len", "6")
    note = "Table 'ids' has 8 entries along axis 0; positions reach the first 6 at these lengths."
    assert note in " ".join(run(*arguments, cwd=folder).stdout.split())
    assert json.loads(run(*arguments, "--json", cwd=folder).stdout)["notes"] == [note]


BAD = {
    "unknown pattern": (["show", "stridde"], "Did you mean 'strided'"),
    "unknown parameter": (["show", "strided", "-p", "q=1"], "no parameter"),
    "bad number": (["plan", "strided", "-p", "l=0"], "at least 1"),
    "short table": (["plan", "document", "-p", "ids=0,0,1", "--seq-len", "9"], "3 entries"),
    "no file": (["show", "nowhere.py:ring"], "no file"),
    "negative length": (["bench", "strided", "--seq-len", "-4"], "at least 1"),
    "heads": (["bench", "strided", "--heads", "8", "--kv-heads", "3"], "multiple"),
    "dtype": (["bench", "strided", "--dtype", "fp12"], "fp32"),
    "tile": (["plan", "strided", "--tile", "3", "4"], "powers of two"),
    "unknown target": (["compile", "causal", "--target", "h10", "--out", "x"], "Did you mean 'h100'"),
    "head size": (["compile", "causal", "--head-dim", "577", "--out", "x"], "1 to 576"),
    "stage of another compiler": (["inspect", "causal", "--stage", "sass", "--target", "mi300x"], "Ask for amdgcn"),
    "kernel": (["inspect", "causal", "--kernel", "froward"], "Did you mean 'forward'"),
    "config": (["inspect", "causal", "-c", "forward"], "KEY=VALUE"),
    "unknown score": (["inspect", "causal", "--score", "alib"], "Did you mean 'alibi'"),
    "score of no file": (["inspect", "causal", "--score", "nowhere.py:capped"], "no file"),
    "parameter of no score": (["inspect", "causal", "-s", "cap=2"], "Name the score"),
    "unknown parameter of a score": (["inspect", "causal", "--score", "softcap", "-s", "cat=2"], "Did you mean 'cap'"),
    "number of a score": (["inspect", "causal", "--score", "softcap", "-s", "cap=high"], "a number"),
    "weights": (["inspect", "causal", "--score", "alibi", "-s", "slopes=0"], "by their shape"),
    "weights too short": (["inspect", "causal", "--score", "alibi", "-s", "slopes=2", "--heads", "4"], "4 entries"),
    "seed": (["bench", "strided", "--seed", "-1"], "equal to 0"),
    "owners without a page": (["show", "causal", "--topology", "8xh100"], "Add --html"),
    "unknown topology of a page": (["show", "causal", "--html", "x.html", "--topology", "9xh100"], "8xh100"),
    "a picture of one length": (["bench", "strided", "--png", "x.png"], "--sweep"),
    "a limit of one length": (["bench", "strided", "--limit", "3"], "--sweep"),
    "memory": (["bench", "causal", "--seq-len", "2000000000"], "not enough memory"),
    "numbers beyond 64 bits": (["show", "strided", "-p", "l=99999999999999999999"], "64 bits"),
    "unwritable picture": (["show", "strided", "--png", "afile/x.png"], "can't be written"),
    "a folder for a report": (["tune", "causal", "--report", "."], "--report . can't be written: Is a directory"),
    "an export below a file": (["tune", "causal", "--export", "afile/x"], "--export afile/x can't be written"),
    "a picture below a file": (["partition", "causal", "--topology", "8xh100", "--png", "afile/x"], "--png afile/x"),
    "links below a file": (["doctor", "--links", "--output", "afile/x"], "--output afile/x can't be written"),
    "kernels in a file": (["compile", "causal", "--out", "afile"], "--out afile: Not a directory"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_exits_with_2_and_a_message(name: str, folder: Path) -> None:
    arguments, says = BAD[name]
    found = run(*arguments, cwd=folder)
    assert found.returncode == 2
    assert says in found.stderr
    assert "Traceback" not in found.stderr
    assert not found.stdout


def test_debug_shows_the_traceback(folder: Path) -> None:
    assert "Traceback" in run("show", "stridde", "--debug").stderr


def test_a_refuted_property_exits_with_1() -> None:
    found = run("verify", "full")
    assert found.returncode == 1
    assert "query 0 sees key 1" in found.stdout


def test_pictures_are_saved(tmp_path: Path) -> None:
    found = run("show", "strided", "-p", "l=8", "--png", str(tmp_path / "strided.png"))
    assert found.returncode == 0, found.stderr
    assert (tmp_path / "strided.png").read_bytes().startswith(b"\x89PNG")


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys\nfrom attncc.cli.app import app\n"
        "try:\n    app(['--help'])\nexcept SystemExit:\n    pass\n"
        "print(sorted({'torch', 'sympy', 'numpy', 'matplotlib', 'networkx'} & set(sys.modules)), file=sys.stderr)"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stderr.strip() == "[]"
    assert "attncc bench strided" in found.stdout


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_notation_is_spelled_in_encodings_that_lack_it(encoding: str) -> None:
    command = [sys.executable, "-c", PROGRAM, "show", "causal", "--seq-len", "4"]
    variables = os.environ | {"PYTHONIOENCODING": encoding}
    found = subprocess.run(command, capture_output=True, encoding=encoding, check=False, env=variables)
    assert found.returncode == 0, found.stderr
    assert "{ j : j <= i }\n\n#_  \n###_\n" in found.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="arguments are text there")
def test_files_open_under_names_that_the_locale_cannot_decode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}.items():
        monkeypatch.setenv(name, value)
    source = "import attncc\n@attncc.pattern\ndef near(i, j):\n    return abs(i - j) < 2\n"
    (tmp_path / "mein müster.py").write_text(source, encoding="utf-8")
    found = run("show", "mein müster.py:near", "-n", "4", cwd=tmp_path)
    assert found.returncode == 0, found.stderr


def test_names_of_patterns_stay_in_one_piece(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    list_patterns()
    listing = capsys.readouterr().out
    assert "strided_bidirectional " in listing
    words = {word for _, pattern in factories() for word in pattern.doc.partition("\n")[0].split() if len(word) < 8}
    assert words <= set(listing.split())
    monkeypatch.delenv("COLUMNS")
    list_patterns()
    assert "i - window < j <= i (Beltagy et al. 2020, causal)." in capsys.readouterr().out  # a pipe has no width


def test_wide_tables_keep_numbers_in_one_piece(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = table("", "pass", "edges", numbers=("edges",))
    made.add_row("x" * 70, "1,234,567")
    monkeypatch.setenv("COLUMNS", "80")
    show(made)
    assert "x" * 70 + " 1,234,567" in capsys.readouterr().out


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device")
def test_a_full_disk_is_named() -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        command = [sys.executable, "-m", "attncc", "list"]
        found = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert found.returncode == 2
    assert "The disk is full" in found.stderr


def test_the_package_runs_as_a_module() -> None:
    command = [sys.executable, "-m", "attncc", "--version"]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert found.stdout == f"attncc {attncc.__version__}\n"


def test_an_interrupt_during_imports_prints_no_traceback() -> None:
    program = (
        "import sys\n"
        "class Interrupted:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'attncc.cli.app': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupted())\n"
        f"{PROGRAM}"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout, found.stderr) == (130, "", "")


def test_prints_of_a_pattern_go_to_stderr(tmp_path: Path) -> None:
    source = "import attncc\n@attncc.pattern\ndef chatty(i, j):\n    print('hello')\n    return j <= i\n"
    (tmp_path / "mine.py").write_text(source, encoding="utf-8")
    found = run("show", "mine.py:chatty", "-n", "4", "--json", cwd=tmp_path)
    assert json.loads(found.stdout)["pattern"] == "chatty()"
    assert found.stderr == "hello\n"
