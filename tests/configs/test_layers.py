"""Layers: their order, and entries shipped by plugins, found without importing them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from attncc.configs import layers
from attncc.configs.entry import Entry
from attncc.configs.store import Store, user_store

Make = Callable[..., Entry]
shipped = layers.shipped  # conftest.py puts another in its place


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An installed plugin that can't be imported, whose package has a folder `configs`."""
    package, metadata = tmp_path / "site" / "tuned_family", tmp_path / "site" / "tuned_family-1.2.dist-info"
    (package / "configs").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')", encoding="utf-8")
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: tuned-family\nVersion: 1.2\n", encoding="utf-8")
    lines = ["[attncc.patterns]", "family = tuned_family.inner.module", "flat = json", "gone = not_there_at_all"]
    (metadata / "entry_points.txt").write_text("\n".join(lines), encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.setattr(layers, "shipped", shipped)
    shipped.cache_clear()
    yield package / "configs"
    shipped.cache_clear()


def test_layers_come_in_order(plugin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTNCC_CONFIG_PATH", "/one::/two")
    found = layers.layers()
    assert [layer.kind for layer in found] == ["path", "path", "user", "shipped", "shipped"]
    assert [layer.store.root for layer in found[:3]] == [Path("/one"), Path("/two"), user_store().root]
    assert [layer.name for layer in found[3:]] == ["plugin family", "attncc"]
    assert found[3].store.root == plugin
    assert "tuned_family" not in sys.modules


def test_shipped_entries_apply_in_any_environment(plugin: Path, entry: Make) -> None:
    made = entry()
    old = replace(made, environment=replace(made.environment, sources="0" * 32))
    Store(plugin).save(old)
    layer = next(layer for layer in layers.layers() if layer.name == "plugin family")
    assert layer.exact(made.environment, made.key) == old
    assert list(layer.entries(made.environment)) == [old]


def test_entries_of_the_current_environment_come_first(tmp_path: Path, entry: Make) -> None:
    made = entry()
    store = Store(tmp_path / "handed out")
    modelled = replace(made, mode="modelled", environment=replace(made.environment, sources="0" * 32))
    measured = replace(made, environment=replace(made.environment, sources="1" * 32))
    for each in (modelled, measured):
        store.save(each)
    layer = layers.Layer("path", "there", store)
    assert layer.exact(made.environment, made.key) == measured
    store.save(made)
    assert layer.exact(made.environment, made.key) == made


def test_the_user_store_serves_the_current_environment_only(store: Store, entry: Make) -> None:
    made = entry()
    store.save(replace(made, environment=replace(made.environment, sources="0" * 32)))
    [layer] = layers.layers()
    assert layer.exact(made.environment, made.key) is None
    assert list(layer.entries(made.environment)) == []
