"""Lookup: exact, shipped, nearest or default, under each value of ATTNCC_CACHE, and reasons for a miss."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from attncc.configs import layers
from attncc.configs.entry import Entry
from attncc.configs.key import Key
from attncc.configs.layers import Layer
from attncc.configs.lookup import find
from attncc.configs.misses import why_miss
from attncc.configs.result import LookupResult
from attncc.configs.store import Store
from attncc.errors import ConfigError

Make = Callable[..., Entry]


def test_an_empty_store_gives_the_default(key: Key) -> None:
    assert find(key) == LookupResult()
    assert str(find(key)) == "The default configuration: none was found."
    assert why_miss(key) == []


def test_an_equal_key_gives_an_exact_match(store: Store, entry: Make, key: Key) -> None:
    store.save(entry())
    found = find(key)
    assert (found.source, found.config, found.distance) == ("exact", entry().config, 0)
    assert "measured, 2.00 x the default's speed, from this user's cache." in str(found)
    assert json.loads(found.text) == found.config
    json.dumps(found.describe())


def test_folders_on_the_path_come_first(
    store: Store, entry: Make, key: Key, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    monkeypatch.setenv("ATTNCC_CONFIG_PATH", f"{folders[0]}:{folders[1]}")
    old = replace(entry().environment, packages=(("torch", "1.0"),))
    store.save(entry())
    Store(folders[1]).save(entry(config={"forward.plan": "split"}, environment=old))
    before = sorted(folders[1].rglob("*"))
    found = find(key)
    assert (found.source, found.config) == ("exact", {"forward.plan": "split"})
    assert set(found.differences) == {"packages.torch"}
    assert "packages.torch" in str(found)
    assert sorted(folders[1].rglob("*")) == before
    assert not folders[0].exists()


def test_shipped_entries_come_after_those_of_the_user(
    store: Store, entry: Make, key: Key, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = Layer("shipped", "plugin family", Store(tmp_path / "shipped"))
    monkeypatch.setattr(layers, "shipped", lambda: (shipped,))
    shipped.store.save(entry(config={"forward.plan": "split"}))
    assert find(key).source == "shipped"
    monkeypatch.setenv("ATTNCC_CACHE", "assert")
    assert find(key).config == {"forward.plan": "split"}
    store.save(entry())
    assert find(key).source == "exact"


def test_the_nearest_key_is_chosen(store: Store, entry: Make, key: Key) -> None:
    store.save(entry(q_len=key.q_len + 4, kv_len=key.kv_len + 4, seed=1))
    store.save(entry(batch=4, seed=2))
    store.save(entry(direction="backward", config={}, seed=3))
    found = find(key)
    assert (found.source, found.distance, found.entry.seed) == ("nearest", 0.25, 2)
    assert "tuned 0.25 octaves away" in str(found)


def test_keys_too_far_away_give_the_default(store: Store, entry: Make, key: Key) -> None:
    store.save(entry(q_len=key.q_len + 5))
    assert find(key).source == "default"
    store.save(entry(q_len=key.q_len + 4))
    assert (find(key).source, find(key).distance) == ("nearest", 2.0)


def test_measured_entries_win_ties(store: Store, entry: Make, key: Key) -> None:
    store.save(entry(q_len=key.q_len + 2, mode="modelled", seed=1))
    store.save(entry(q_len=key.q_len - 2, seed=2))
    assert find(key).entry.seed == 2


def test_strict_mode_takes_exact_matches_only(
    store: Store, entry: Make, key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATTNCC_CACHE", "strict")
    store.save(entry(batch=4))
    assert find(key).source == "default"
    store.save(entry())
    assert find(key).source == "exact"


def test_off_mode_gives_the_default(store: Store, entry: Make, key: Key, monkeypatch: pytest.MonkeyPatch) -> None:
    store.save(entry())
    monkeypatch.setenv("ATTNCC_CACHE", "off")
    assert find(key) == LookupResult()


def test_assert_mode_reports_differences(store: Store, entry: Make, key: Key, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTNCC_CACHE", "assert")
    with pytest.raises(ConfigError, match="No layer has any"):
        find(key)
    store.save(entry(head_dim=16))
    with pytest.raises(ConfigError, match="was tuned for heads of 16, not heads of 8"):
        find(key)
    store.save(entry())
    assert find(key).source == "exact"


def test_unknown_modes_are_refused(key: Key, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTNCC_CACHE", "stric")
    with pytest.raises(ConfigError, match="Did you mean 'strict'"):
        find(key)


def test_why_miss_lists_differences(store: Store, entry: Make, key: Key) -> None:
    old = replace(entry().environment, packages=(("torch", "1.0"),))
    store.save(entry(dtype="bf16"))
    store.save(entry(environment=old))
    store.save(entry(q_len=key.q_len + 8))
    first, second, third = why_miss(key)
    assert (first.key, set(first.environment)) == ({}, {"packages.torch"})
    assert first.environment["packages.torch"][1] == "1.0"
    assert second.key == {"q_len": (key.q_len, key.q_len + 8)}
    assert third.key == {"dtype": ("fp32", "bf16")}
    assert "was tuned for bf16, not fp32" in str(third)
    assert len(why_miss(key, most=1)) == 1
