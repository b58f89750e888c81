"""The log of trials: whole lines count, whoever died; what can't be written goes on in memory."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import ExitStack
from pathlib import Path

import optuna
import pytest
from optuna.storages import InMemoryStorage, JournalStorage, RDBStorage

from attncc.errors import ConfigError
from attncc.storage import CacheWarning
from attncc.tune import trials
from attncc.tune.trials import TrialLog, storage

LOGS = [{"op_code": 0, "n": number} for number in range(3)]


def test_readers_see_what_writers_appended(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    writer, reader = TrialLog(path), TrialLog(path)
    writer.append_logs(LOGS[:2])
    assert list(reader.read_logs(0)) == LOGS[:2]
    reader.append_logs(LOGS[2:])
    assert list(writer.read_logs(1)) == LOGS[1:]


@pytest.mark.parametrize("torn", ['{"op_code": 4, "tri', '{"op_code": 4}', "\x00\x00", '["a list"]\n', "garbage\n"])
def test_a_torn_line_is_skipped_by_everyone(tmp_path: Path, torn: str) -> None:
    path = tmp_path / "trials.jsonl"
    before = TrialLog(path)
    before.append_logs(LOGS[:1])
    assert list(before.read_logs(0)) == LOGS[:1]
    with path.open("a") as file:
        file.write(torn)
    after = TrialLog(path)
    after.append_logs(LOGS[1:])
    whole = [json.loads(torn)] if torn == '{"op_code": 4}' else []
    for log in (before, after, TrialLog(path)):
        assert list(log.read_logs(0)) == [LOGS[0], *whole, *LOGS[1:]]


def test_a_line_under_way_is_not_read_in_part(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    log = TrialLog(path)
    line = json.dumps(LOGS[0])
    path.write_text(line[:5])
    assert list(log.read_logs(0)) == []
    path.write_text(line + "\n")
    assert list(log.read_logs(0)) == LOGS[:1]


def test_a_full_disk_is_survived(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = TrialLog(tmp_path / "trials.jsonl")
    log.append_logs(LOGS[:1])

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.warns(CacheWarning, match="No space left"):
        log.append_logs(LOGS[1:2])
    log.append_logs(LOGS[2:])
    assert list(log.read_logs(0))[-2:] == LOGS[1:]


def test_a_folder_that_cannot_be_made_means_memory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with ExitStack() as stack:
        with pytest.warns(CacheWarning, match="not remembered"):
            found = stack.enter_context(storage(tmp_path / "file" / "trials.jsonl"))
        assert isinstance(found, InMemoryStorage)


def test_a_log_that_was_tampered_with_is_put_aside(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    path.write_text('{"op_code": 4, "worker_id": "x"}\n')
    with ExitStack() as stack:
        with pytest.warns(CacheWarning, match=r"trials\.damaged"):
            found = stack.enter_context(storage(path))
        assert isinstance(found, JournalStorage)
        assert (tmp_path / "trials.damaged").exists()
        optuna.create_study(storage=found)


def test_a_database_is_named_by_its_url(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/trials.db"
    with storage(None, url) as found:
        optuna.create_study(storage=found, study_name="a")
    with storage(None, url) as found:
        assert optuna.get_all_study_names(found) == ["a"]


def test_a_database_is_closed_after_use(tmp_path: Path) -> None:
    with storage(None, f"sqlite:///{tmp_path}/trials.db") as found:
        optuna.create_study(storage=found)
        assert isinstance(found, RDBStorage)
        lent = found.engine.raw_connection()
        connection = lent.driver_connection
        lent.close()  # it goes back to the pool, open
    assert connection is not None
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        connection.execute("select 1")


def test_a_bad_url_says_what_one_is() -> None:
    with pytest.raises(ConfigError, match="sqlite:///"), storage(None, "nowhere"):
        pass


def test_a_log_without_a_newline_stays_out_of_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "LONGEST_LINE", 100)
    path = tmp_path / "trials.jsonl"
    reader = TrialLog(path)
    path.write_bytes(b"x" * 1050)
    assert list(reader.read_logs(0)) == []
    assert reader._offset == 1000
    reader.append_logs(LOGS)  # which ends the line
    for log in (reader, TrialLog(path)):
        assert list(log.read_logs(0)) == LOGS


def test_an_overlong_line_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "LONGEST_LINE", 100)
    path = tmp_path / "trials.jsonl"
    lines = [json.dumps(log) + "\n" for log in LOGS]
    path.write_text(lines[0] + json.dumps(["x" * 130, LOGS[0]]) + "\n" + "".join(lines[1:]))
    assert list(TrialLog(path).read_logs(0)) == LOGS


def test_a_log_that_is_full_goes_on_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "LARGEST", 40)
    log = TrialLog(tmp_path / "trials.jsonl")
    log.append_logs(LOGS[:1])
    with pytest.warns(CacheWarning, match="at most 40 are read"):
        log.append_logs(LOGS[1:])
    assert list(log.read_logs(0)) == LOGS
    assert (tmp_path / "trials.jsonl").stat().st_size < 40


@pytest.mark.parametrize("kind", ["a pipe", "a link", "a folder", "a huge file"])
def test_what_is_no_log_is_put_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(trials, "LARGEST", 1 << 16)
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


def test_a_log_that_becomes_a_pipe_goes_on_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    log = TrialLog(path)
    log.append_logs(LOGS[:1])
    path.unlink()
    os.mkfifo(path)
    with pytest.warns(CacheWarning, match="no regular file|No such device"):
        log.append_logs(LOGS[1:])
    assert list(log.read_logs(0))[-2:] == LOGS[1:]
