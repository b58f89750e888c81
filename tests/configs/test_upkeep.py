"""Upkeep: damaged files, and environments that are no longer current."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from attncc.configs.entry import Entry
from attncc.configs.store import Store
from attncc.configs.upkeep import damaged, outdated

Make = Callable[..., Entry]


def test_damaged(store: Store, entry: Make) -> None:
    one, other = entry(), entry(batch=5)
    store.save(one), store.save(other)
    assert list(damaged(store)) == []
    path = store.path(one.environment, one.key)
    path.write_bytes(b"{")
    [found] = damaged(store)
    assert found.path == path
    assert "no JSON" in found.reason


def test_outdated(store: Store, entry: Make) -> None:
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


def test_trials_without_winners_are_kept(store: Store, entry: Make) -> None:
    store.trials(entry().environment, "abc.jsonl").write_text("{}", encoding="utf-8")
    assert outdated(store) == []
