"""Stores: saving and loading, damaged and foreign files, and unwritable disks."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from attncc._util import locking, storage
from attncc._util.storage import CacheWarning
from attncc.configs import store as stores
from attncc.configs.entry import MAX_BYTES, Entry
from attncc.configs.store import Store
from attncc.errors import ConfigError

Make = Callable[..., Entry]


def saved(store: Store, made: Entry) -> Path:
    assert store.save(made)
    return store.path(made.environment, made.key)


def test_entries_are_loaded_as_saved(store: Store, entry: Make) -> None:
    made = entry()
    assert store.load(made.environment, made.key) is None
    path = saved(store, made)
    assert store.load(made.environment, made.key) == made
    assert list(store.entries()) == list(store.entries(made.environment)) == [made]
    assert path.parent == store.winners(made.environment)
    assert store.described(store.folder(made.environment)) == made.environment
    store.remove(made)
    assert list(store.entries()) == []


def test_each_environment_has_its_own_folder(store: Store, entry: Make) -> None:
    one = entry()
    other = entry(environment=replace(one.environment, packages=(("torch", "1.0"),)))
    saved(store, one), saved(store, other)
    assert list(store.entries(one.environment)) == [one]
    assert {found.environment for found in store.entries()} == {one.environment, other.environment}


def test_measured_entries_replace_modelled_ones_and_never_the_reverse(store: Store, entry: Make) -> None:
    modelled, measured = entry(mode="modelled", expected_error=0.3), entry(seed=1)
    assert store.save(modelled)
    assert store.save(measured)
    assert not store.save(modelled)
    assert store.load(measured.environment, measured.key) == measured
    assert store.save(entry(seed=2))
    assert store.load(measured.environment, measured.key) == entry(seed=2)


def test_replaced_files_are_read_again(store: Store, entry: Make) -> None:
    for seed in range(20):
        assert store.save(entry(seed=seed))
        assert store.load(entry().environment, entry().key).seed == seed


DAMAGE = {
    "truncated": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "flipped": lambda content: content.replace(b'"best": 0.5', b'"best": -0.5'),
    "huge": lambda content: content + b" " * MAX_BYTES,
    "hostile": lambda content: b"[" * 100_000,
    "foreign": lambda content: content.replace(b'"head_dim": 8', b'"head_dim": 16'),
    "of another format": lambda content: content.replace(b'"format": 1', b'"format": 99'),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_files_are_ignored_with_one_warning(store: Store, entry: Make, name: str) -> None:
    made = entry()
    path = saved(store, made)
    path.write_bytes(DAMAGE[name](path.read_bytes()))
    with pytest.warns(CacheWarning, match="is not used") as caught:
        assert store.load(made.environment, made.key) is None
    assert len(caught) == 1
    assert list(store.entries()) == []  # and no second warning
    assert store.save(made)
    assert store.load(made.environment, made.key) == made


def test_entries_moved_to_another_environment_are_ignored(store: Store, entry: Make) -> None:
    made = entry()
    other = replace(made.environment, sources="0" * 32)
    path = store.path(other, made.key)
    path.parent.mkdir(parents=True)
    shutil.copy(saved(store, made), path)
    with pytest.warns(CacheWarning, match="another key or environment"):
        assert store.load(other, made.key) is None


def test_foreign_files_are_left_alone(store: Store, entry: Make) -> None:
    made = entry()
    saved(store, made)
    (store.root / "notes").mkdir()
    (store.root / "notes" / "winners").write_text("mine", encoding="utf-8")
    (store.winners(made.environment) / "README").write_text("mine", encoding="utf-8")
    assert list(store.entries()) == [made]


def test_names_of_trials_stay_inside_the_folder(store: Store, entry: Make) -> None:
    made = entry()
    path = store.trials(made.environment, "abc.jsonl")
    assert path == store.folder(made.environment) / "trials" / "abc.jsonl"
    assert path.parent.is_dir()
    assert store.described(store.folder(made.environment)) == made.environment
    for name in ("../up", "/etc/passwd", "", "..", "a/b"):
        with pytest.raises(ConfigError):
            store.trials(made.environment, name)


def test_unwritable_stores_warn_once(tmp_path: Path, entry: Make) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    store, made = Store(tmp_path / "file" / "tuned"), entry()
    with pytest.warns(CacheWarning, match="not remembered") as caught:
        assert [store.save(made), store.save(made)] == [False, False]
    store.trials(made.environment, "abc.jsonl")  # without a second warning
    assert len(caught) == 1
    assert store.load(made.environment, made.key) is None
    assert list(store.entries()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only to root")
def test_read_only_folders_warn(tmp_path: Path, entry: Make) -> None:
    folder = tmp_path / "tuned"
    folder.mkdir(mode=0o500)
    with pytest.warns(CacheWarning, match="not remembered"):
        assert not Store(folder).save(entry())


def test_a_full_disk_keeps_the_old_entry(store: Store, entry: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    made = entry()
    saved(store, made)

    monkeypatch.setattr(storage, "_write_all", _disk(room=0))
    with pytest.warns(CacheWarning, match="No space left"):
        assert not store.save(entry(seed=3))
    assert store.load(made.environment, made.key) == made


def test_a_disk_that_fills_up_keeps_whole_entries_only(
    store: Store, entry: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [entry(batch=1 + n) for n in range(8)]
    saved(store, made[0])
    monkeypatch.setattr(storage, "_write_all", _disk(room=4 * len(made[0].content())))
    with pytest.warns(CacheWarning, match="No space left"):
        written = store.save_all(made)
    assert 0 < len(written) < len(made)
    assert sorted(store.entries(), key=repr) == sorted(written, key=repr)
    assert {path.suffix for path in store.winners(made[0].environment).iterdir()} == {".json"}


def _disk(room: int) -> Callable[[int, bytes], None]:
    """Writes files until `room` bytes are used; of the last one it writes the beginning."""
    left = room

    def write(descriptor: int, content: bytes) -> None:
        nonlocal left
        os.write(descriptor, content[:left])
        if len(content) > left:
            raise OSError(errno.ENOSPC, "No space left on device")
        left -= len(content)

    return write


def test_links_in_place_of_an_entry_are_replaced_without_following(store: Store, entry: Make, tmp_path: Path) -> None:
    mine, path = tmp_path / "mine", saved(store, entry())
    mine.write_bytes(entry().content())
    path.unlink()
    path.symlink_to(mine)
    assert saved(store, entry(seed=3)) == path
    assert not path.is_symlink()
    assert mine.read_bytes() == entry().content()
    assert store.load(entry().environment, entry().key) == entry(seed=3)


@pytest.mark.parametrize("folder", ["winners", "."])
def test_linked_folders_are_not_written_to(store: Store, entry: Make, tmp_path: Path, folder: str) -> None:
    made, mine = entry(), tmp_path / "mine"
    mine.mkdir()
    link = store.folder(made.environment) / folder
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(mine)
    with pytest.warns(CacheWarning, match="link"):
        assert not store.save(made)
    assert [path for path in mine.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("name", ["entry", "environment"])
def test_pipes_in_place_of_a_file_are_replaced(store: Store, entry: Make, name: str) -> None:
    made = entry()
    path = saved(store, made)
    there = path if name == "entry" else store.folder(made.environment) / "environment.json"
    there.unlink()
    os.mkfifo(there)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CacheWarning)
        saved(store, made)
    assert there.is_file()
    assert store.described(store.folder(made.environment)) == made.environment


def test_trials_behind_a_link_are_kept_in_memory(store: Store, entry: Make, tmp_path: Path) -> None:
    folder = store.folder(entry().environment)
    folder.mkdir(parents=True)
    (folder / "trials").symlink_to(tmp_path)
    with pytest.warns(CacheWarning, match="link"):
        assert store.trials(entry().environment, "abc.jsonl") is None


def test_bulk_saves_take_one_lock_a_batch_without_fsync(
    store: Store, entry: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [entry(batch=number + 1) for number in range(2 * stores.BATCH + 1)]
    taken, synced, heard = list[Path](), list[int](), list[Entry]()

    def locked(path: Path, *rest: str, **options: Any) -> AbstractContextManager[None]:
        taken.append(path)
        return locking.locked(path, *rest, **options)

    monkeypatch.setattr(stores, "locked", locked)
    monkeypatch.setattr("os.fsync", synced.append)
    assert store.save_all(made, heard.append) == heard == made
    assert len(taken) == 3  # a batch each, so that others get a turn
    assert len(synced) <= 1  # for the environment's file
    assert {each.key.batch for each in store.entries()} == {each.key.batch for each in made}


#: Each process saves its own entries and entries that all write, and loads each at once.
PROGRAM = """
import sys, warnings
from dataclasses import replace
from pathlib import Path
warnings.simplefilter("error")
from attncc.configs.entry import Entry
from attncc.configs.store import Store
store, me = Store(Path(sys.argv[1])), int(sys.argv[2])
first = Entry.read(Path(sys.argv[3]))
for turn in range(int(sys.argv[4])):
    own = replace(first, key=replace(first.key, heads=8 * turn + me + 1, kv_heads=1), seed=me)
    common = replace(first, key=replace(first.key, batch=turn % 5 + 1), seed=me, trials=turn)
    for made in (own, common):
        assert store.save(made), made
        found = store.load(made.environment, made.key)
        assert found is not None, made
        assert found.config == first.config
    assert store.load(own.environment, own.key).seed == me
    assert all(each.config == first.config for each in store.entries()) if turn % 25 == 0 else True
"""
PROCESSES, ROUNDS = 8, 100


def test_many_processes_write_concurrently(store: Store, entry: Make, tmp_path: Path) -> None:
    (tmp_path / "first").write_bytes(entry().content())
    arguments = [str(store.root), "PROCESS", str(tmp_path / "first"), str(ROUNDS)]
    running = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, arguments[0], str(number), *arguments[2:]],
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(PROCESSES)
    ]
    for process in running:
        _, errors = process.communicate()
        assert process.returncode == 0, errors
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = list(store.entries())
    assert {each.key.heads for each in found if each.key.kv_heads == 1} == set(range(1, PROCESSES * ROUNDS + 1))
    assert {each.key.batch for each in found if each.key.kv_heads == 2} == {1, 2, 3, 4, 5}
    assert len(found) == PROCESSES * ROUNDS + 5
