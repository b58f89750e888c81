"""Locks: one holder at a time, released by its death, and named to waiting processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from attncc._util import locking
from attncc._util.locking import locked

HOLDER = """
import sys, time
from pathlib import Path
sys.argv = ["/usr/bin/attncc", "tune", "strided", "--storage", "postgresql://user:secret@host/trials"]
from attncc._util.locking import locked
with locked(Path(PATH), "the test", root=Path(PATH).parent):
    print("held", flush=True)
    time.sleep(60)
"""


@contextmanager
def held(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process holds a lock."""
    program = HOLDER.replace("PATH", repr(str(path)))
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def test_waiting_names_the_holder_and_times_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(locking, "SILENCE", 0.1)
    path = tmp_path / "a.lock"
    with held(path) as process:
        with (
            pytest.raises(TimeoutError, match=rf"process {process.pid} .*attncc tune strided, since 2"),
            locked(path, "the trials", root=tmp_path, wait=0.3),
        ):
            pytest.fail("It was held twice.")
        [record] = caplog.records
        said = record.getMessage()
        assert said.startswith(f"Waiting for the trials, at most 0 s: process {process.pid} on ")
        assert said.endswith(f"holds the lock {path}. End that process if it hangs.")
        assert "secret" not in said
        process.send_signal(signal.SIGKILL)
        process.wait()
        with locked(path, "the trials", root=tmp_path, wait=10.0):
            assert json.loads(path.with_suffix(".holder").read_text())["pid"] == os.getpid()
    assert not path.with_suffix(".holder").exists()


def test_free_locks_log_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with locked(tmp_path / "new" / "a.lock", "the test", root=tmp_path):
        pass
    assert caplog.records == []


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"[" * 3000, b"x" * 9000], ids=str)
def test_unreadable_holders_are_called_another_process(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.holder").write_bytes(content)
    assert locking._described(tmp_path / "a.holder") == "another process"


def test_descriptions_of_holders_are_escaped(tmp_path: Path) -> None:
    said = {"pid": 1, "host": "\x1b[2J", "command": "a\rb", "since": "\u202e"}
    (tmp_path / "a.holder").write_text(json.dumps(said))
    assert locking._described(tmp_path / "a.holder") == r"process 1 on \x1b[2J (a\rb, since \u202e)"


def test_a_pipe_in_place_of_a_description_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.holder")
    assert locking._described(tmp_path / "a.holder") == "another process"
    with locked(tmp_path / "a.lock", "the test", root=tmp_path):
        assert (tmp_path / "a.holder").is_file()


def test_locks_are_not_made_behind_links(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "mine").mkdir()
    (tmp_path / "cache" / "folder").symlink_to(tmp_path / "mine")
    (tmp_path / "cache" / "a.lock").symlink_to(tmp_path / "mine" / "file")
    for path in (tmp_path / "cache" / "folder" / "a.lock", tmp_path / "cache" / "a.lock"):
        with pytest.raises(OSError, match="link"), locked(path, "the test", root=tmp_path / "cache"):
            pytest.fail("It was made.")
    assert list((tmp_path / "mine").iterdir()) == []
