"""Entries to test with, and a separate cache for each test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import attncc
from attncc.backends.inputs import Inputs
from attncc.configs import layers, lookup
from attncc.configs.entry import Entry, about
from attncc.configs.environment import Environment
from attncc.configs.key import Key
from attncc.configs.store import Store, user_store
from attncc.planner.shape import Shape

STRIDED = attncc.load("strided", l=8)
SIZES = {"batch": 2, "heads": 2, "kv_heads": 2, "head_dim": 8, "value_dim": 8, "dtype": "fp32"}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTNCC_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("ATTNCC_CACHE", raising=False)
    monkeypatch.delenv("ATTNCC_CONFIG_PATH", raising=False)
    monkeypatch.setattr(lookup, "_logged", set())
    monkeypatch.setattr(layers, "shipped", lambda: ())


@pytest.fixture
def store() -> Store:
    """The user's store."""
    return user_store()


@pytest.fixture
def key() -> Key:
    """The key of strided(l=8), 64 queries and keys."""
    return Key.of(STRIDED, "", Shape(64, 64), Inputs(**SIZES), "forward", "torch", "cpu")


@pytest.fixture
def entry(key: Key) -> Callable[..., Entry]:
    """Makes an entry of `key`, with some fields of key or entry in place of its own."""

    def made(**changes: object) -> Entry:
        of_key = {name: changes.pop(name) for name in list(changes) if name in key.describe()}
        values = {
            "key": replace(key, **of_key),
            "environment": Environment.of("torch", "cpu"),
            "config": {"forward.plan": "fused", "forward.query_tile": 48},
            "mode": "measured",
            "seconds": {"best": 0.5, "default": 1.0, "dense": 4.0},
            "samples": {"best": [0.4, 0.5, 0.6], "default": [1.0]},
            "about": about(STRIDED, 64, 64),
            "made": "2026-01-01T00:00:00+00:00",  # two entries that differ in nothing else are equal
        }
        return Entry(**(values | changes))

    return made
