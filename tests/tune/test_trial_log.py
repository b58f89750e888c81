"""The log of trials: only whole lines count, and memory replaces an unwritable log."""

from __future__ import annotations

import os
import sqlite3
from contextlib import ExitStack
from pathlib import Path

import optuna
import pytest
from optuna.storages import InMemoryStorage, JournalStorage, RDBStorage

from attncc._util.storage import CacheWarning
from attncc.errors import ConfigError
from attncc.tune import trial_log
from attncc.tune.trial_log import TrialLog, storage

LOGS = [{"op_code": 0, "n": number} for number in range(3)]


def test_readers_see_appended_lines(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    writer, reader = TrialLog(path), TrialLog(path)
    writer.append_logs(LOGS[:2])
    assert list(reader.read_logs(0)) == LOGS[:2]
    reader.append_logs(LOGS[2:])
    assert list(writer.read_logs(1)) == LOGS[1:]


@pytest.mark.parametrize("kept", [0, 1, 10, -1])
def test_torn_lines_are_truncated_by_the_next_writer(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "trials.jsonl"
    before = TrialLog(path)
    before.append_logs(LOGS[:1])
    assert list(before.read_logs(0)) == LOGS[:1]
    whole = path.read_bytes()
    TrialLog(path).append_logs([{"op_code": 4}])
    path.write_bytes(whole + path.read_bytes()[len(whole) :][:kept])  # or all but its newline
    after = TrialLog(path)
    after.append_logs(LOGS[1:])
    for log in (before, after, TrialLog(path)):
        assert list(log.read_logs(0)) == LOGS


def _lines(path: Path) -> list[bytes]:
    TrialLog(path).append_logs(LOGS)
    return path.read_bytes().splitlines(keepends=True)


@pytest.mark.parametrize("damage", ["changed", "missing", "twice", "foreign", "swapped", "endless"])
def test_damaged_lines_are_an_error(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "trials.jsonl"
    first, second, third = _lines(path)
    damaged = {
        "changed": [first, second.replace(b'"n":1', b'"n":2'), third],
        "missing": [first, third],
        "twice": [first, second, second, third],
        "foreign": [first, second, b'{"op_code":0,"n":7}\n', third],
        "swapped": [second, first, third],
        "endless": [first, b"x" * (trial_log.LONGEST_LINE + 1)],
    }
    path.write_bytes(b"".join(damaged[damage]))
    with pytest.raises(ConfigError, match="was damaged"):
        list(TrialLog(path).read_logs(0))
    with ExitStack() as stack:
        with pytest.warns(CacheWarning, match=r"trials\.damaged"):
            found = stack.enter_context(storage(path))
        optuna.create_study(storage=found)


def test_truncated_logs_are_not_written_to(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    log = TrialLog(path)
    log.append_logs(LOGS)
    assert list(log.read_logs(0)) == LOGS
    path.write_bytes(b"")
    with pytest.warns(CacheWarning, match="was damaged while it was in use"):
        log.append_logs(LOGS[:1])
    assert list(log.read_logs(0)) == [*LOGS, LOGS[0]]
    assert path.read_bytes() == b""


def test_partial_lines_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    line = _lines(path)[0]
    log = TrialLog(path)
    path.write_bytes(line[:5])
    assert list(log.read_logs(0)) == []
    path.write_bytes(line)
    assert list(log.read_logs(0)) == LOGS[:1]


def test_a_full_disk_falls_back_to_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = TrialLog(tmp_path / "trials.jsonl")
    log.append_logs(LOGS[:1])

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.warns(CacheWarning, match="No space left"):
        log.append_logs(LOGS[1:2])
    log.append_logs(LOGS[2:])
    assert list(log.read_logs(0))[-2:] == LOGS[1:]


def test_missing_folders_fall_back_to_memory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with ExitStack() as stack:
        with pytest.warns(CacheWarning, match="not remembered"):
            found = stack.enter_context(storage(tmp_path / "file" / "trials.jsonl"))
        assert isinstance(found, InMemoryStorage)


def test_malformed_logs_are_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    path.write_text('{"op_code": 4, "worker_id": "x"}\n')
    with ExitStack() as stack:
        with pytest.warns(CacheWarning, match=r"trials\.damaged"):
            found = stack.enter_context(storage(path))
        assert isinstance(found, JournalStorage)
        assert (tmp_path / "trials.damaged").exists()
        optuna.create_study(storage=found)


def test_databases_open_by_url(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/trials.db"
    with storage(None, url) as found:
        optuna.create_study(storage=found, study_name="a")
    with storage(None, url) as found:
        assert optuna.get_all_study_names(found) == ["a"]


def test_databases_are_closed_after_use(tmp_path: Path) -> None:
    with storage(None, f"sqlite:///{tmp_path}/trials.db") as found:
        optuna.create_study(storage=found)
        assert isinstance(found, RDBStorage)
        lent = found.engine.raw_connection()
        connection = lent.driver_connection
        lent.close()  # it returns to the pool, still open
    assert connection is not None
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        connection.execute("select 1")


def test_invalid_urls_are_explained() -> None:
    with pytest.raises(ConfigError, match="sqlite:///"), storage(None, "nowhere"):
        pass


def test_endless_lines_are_not_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial_log, "LONGEST_LINE", 100)
    path = tmp_path / "trials.jsonl"
    path.write_bytes(b"x" * 1050)
    log = TrialLog(path)
    with pytest.raises(ConfigError, match="was damaged"):
        list(log.read_logs(0))
    assert (log._offset, log._lines) == (0, [])


def test_full_logs_fall_back_to_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial_log, "LARGEST", 60)
    log = TrialLog(tmp_path / "trials.jsonl")
    log.append_logs(LOGS[:1])
    with pytest.warns(CacheWarning, match="at most 60 are read"):
        log.append_logs(LOGS[1:])
    assert list(log.read_logs(0)) == LOGS
    assert (tmp_path / "trials.jsonl").stat().st_size < 60


@pytest.mark.parametrize("kind", ["a pipe", "a link", "a folder", "a huge file"])
def test_irregular_files_are_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(trial_log, "LARGEST", 1 << 16)
    path, mine = tmp_path / "trials.jsonl", tmp_path / "mine"
    mine.write_bytes(b"mine")
    make = {
        "a pipe": lambda: os.mkfifo(path),
        "a link": lambda: path.symlink_to(mine),
        "a folder": path.mkdir,
        "a huge file": lambda: path.write_bytes(b"x" * (1 << 16)),
    }
    make[kind]()
    with ExitStack() as stack:
        with pytest.warns(CacheWarning, match=r"trials\.damaged"):
            found = stack.enter_context(storage(path))
        optuna.create_study(storage=found)
    assert path.is_file()
    assert mine.read_bytes() == b"mine"


def test_logs_that_become_pipes_fall_back_to_memory(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    log = TrialLog(path)
    log.append_logs(LOGS[:1])
    path.unlink()
    os.mkfifo(path)
    with pytest.warns(CacheWarning, match="a regular file|No such device"):
        log.append_logs(LOGS[1:])
    assert list(log.read_logs(0))[-2:] == LOGS[1:]
