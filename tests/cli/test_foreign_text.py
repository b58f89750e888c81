"""Messages of plugins and files reach the terminal as plain text, and their failures don't end a command."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from attncc.cli import errors, output
from attncc.cli.progress import progress

HOSTILE = "\x1b[2J\x1b]0;owned\x07\rover \u202eback [red]red[/red] :warning: \x9b1m"
SPELLED = r"\x1b[2J\x1b]0;owned\x07\rover \u202eback [red]red[/red] :warning: \x9b1m"

PLUGINS = {
    "talking": f"import attncc\n@attncc.pattern\ndef tale(i, j):\n    {HOSTILE!r}\n    return j <= i\n",
    "failing": f"raise RuntimeError({HOSTILE!r})\n",
    "mute": "class Mute(Exception):\n    def __str__(self): raise Mute\nraise Mute\n",
    "hanging": "import time\ntime.sleep(600)\n",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an installed distribution of hostile plugins."""
    folder = tmp_path_factory.mktemp("site")
    metadata = folder / "hostile-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: host\x1b[2Jile\nVersion: 1.0\n", encoding="utf-8")
    lines = [f"{name} = hostile_{name}" for name in PLUGINS]
    (metadata / "entry_points.txt").write_text("\n".join(["[attncc.patterns]", *lines]), encoding="utf-8")
    for name, source in PLUGINS.items():
        (folder / f"hostile_{name}.py").write_text(source, encoding="utf-8")
    return folder


def run(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join(path or os.getcwd() for path in [str(site), *sys.path])
    environment = {**os.environ, "PYTHONPATH": paths, "ATTNCC_PLUGIN_TIMEOUT": "0.5", "COLUMNS": "200"}
    command = [sys.executable, "-m", "attncc", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=120)


def test_commands_survive_hostile_plugins(site: Path) -> None:
    found = run(site, "list")
    assert found.returncode == 0
    assert "strided" in found.stdout
    assert SPELLED[:20] in found.stdout
    assert is_plain(found.stdout + found.stderr)
    assert (
        "Plugin 'hanging' of host\\x1b[2Jile 1.0 can't be loaded: PluginError: It took more than 0.5 s" in found.stderr
    )
    assert "Mute: <a Mute that has no text>" in found.stderr
    assert SPELLED in found.stderr


def test_tracebacks_are_printed_as_plain_text(site: Path) -> None:
    found = run(site, "plugins", "doctor")
    assert found.returncode == 1
    assert SPELLED in found.stdout
    assert "time.sleep(600)" in found.stdout
    assert is_plain(found.stdout + found.stderr)
    rows = json.loads(run(site, "plugins", "doctor", "--json").stdout)["plugins"]
    assert HOSTILE in next(
        row["traceback"] for row in rows if row["plugin"] == "failing"
    )  # JSON keeps the text unchanged


def is_plain(text: str) -> bool:
    return all(character.isprintable() or character in "\n\t" for character in text)


@pytest.mark.parametrize("place", ["a str", "a Text", "a cell", "a title", "a panel", "facts"])
def test_escape_sequences_are_spelled_out(
    place: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    table = output.table(HOSTILE if place == "a title" else "", "column")
    table.add_row(HOSTILE)
    shown: dict[str, str | Text | Table | Panel | object] = {
        "a str": HOSTILE,
        "a Text": Text(HOSTILE),
        "a cell": table,
        "a title": table,
        "a panel": Panel(HOSTILE),
        "facts": output.facts(HOSTILE, {HOSTILE: HOSTILE}),
    }
    output.show(shown[place])
    printed = capsys.readouterr().out
    assert is_plain(printed)
    assert SPELLED in printed or place == "a Text"  # rich drops some of it
    assert r"\x1b[2J\x1b]0;owned" in printed


def test_names_of_steps_are_not_parsed_as_markup(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with progress(2) as on_step:
        on_step(HOSTILE)
        on_step("[bold")
        on_step("last")
    assert "owned\x07" not in sys.stderr.getvalue()


def test_unexpected_errors_without_a_message_are_reported_by_type(capsys: pytest.CaptureFixture[str]) -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    errors.report_error(errors._unexpected(Mute()))
    assert "Mute: <a Mute that has no text>." in capsys.readouterr().err
