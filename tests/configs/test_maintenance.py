"""Upkeep: damaged files, and environments that are no longer current."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from attncc._util.storage import ABANDONED, WRITING
from attncc.configs.entry import Entry
from attncc.configs.maintenance import damaged, outdated, removable
from attncc.configs.store import Store

Make = Callable[..., Entry]


def test_damaged_files_are_listed(store: Store, entry: Make) -> None:
    one, other = entry(), entry(batch=5)
    store.save(one), store.save(other)
    assert list(damaged(store)) == []
    path = store.path(one.environment, one.key)
    path.write_bytes(b"{")
    [found] = damaged(store)
    assert found.path == path
    assert "valid JSON" in found.reason


def test_outdated_environments_are_listed(store: Store, entry: Make) -> None:
    made = entry()
    changes = {
        "current": {},
        "of another machine": {"machine": (("processor", "another"), ("threads", "96"))},
        "old": {"packages": (("torch", "1.0"),)},
    }
    environments = {name: replace(made.environment, **change) for name, change in changes.items()}
    for environment in environments.values():
        store.save(replace(made, environment=environment))
    (store.root / ("0" * 32)).mkdir()
    (store.root / "notes").mkdir()
    assert {folder.name for folder in outdated(store)} == {"0" * 32, environments["old"].digest}


def test_files_behind_links_are_not_removable(store: Store, entry: Make, tmp_path: Path) -> None:
    made, mine = entry(), tmp_path / "mine"
    mine.mkdir()
    (mine / "mine.json").write_text("{}", encoding="utf-8")
    store.folder(made.environment).mkdir(parents=True)
    store.winners(made.environment).symlink_to(mine)
    assert [each.path.name for each in damaged(store)] == ["mine.json"]
    assert removable(store) == []
    link = store.root / ("0" * 32)
    link.symlink_to(mine)
    store.remove_environment(link.name)
    assert not link.is_symlink()
    assert (mine / "mine.json").exists()


def test_abandoned_temporary_files_are_removable(store: Store, entry: Make) -> None:
    store.save(entry())
    folder = store.winners(entry().environment)
    for age in (0.0, 2 * ABANDONED):
        path = folder / f"{WRITING}{age:.0f}"
        path.write_bytes(b"")
        os.utime(path, (path.stat().st_mtime - age,) * 2)
    assert removable(store) == [folder / f"{WRITING}{2 * ABANDONED:.0f}"]


def test_trials_without_winners_are_kept(store: Store, entry: Make) -> None:
    store.trials(entry().environment, "abc.jsonl").write_text("{}", encoding="utf-8")
    assert outdated(store) == []
