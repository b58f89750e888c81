"""Bundles: export and import round-trip, and contents never become paths."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from attncc.configs import bundle
from attncc.configs.entry import Entry
from attncc.configs.store import Store
from attncc.errors import ConfigError

Make = Callable[..., Entry]


@pytest.fixture
def there(tmp_path: Path) -> Store:
    """The store of another machine."""
    return Store(tmp_path / "there")


def _bundle(tmp_path: Path, entries: list[object]) -> Path:
    path = tmp_path / "bundle.json"
    path.write_text(json.dumps({"format": 1, "entries": entries}), encoding="utf-8")
    return path


def test_export_and_import_round_trip(store: Store, there: Store, entry: Make, tmp_path: Path) -> None:
    made = [entry(), entry(direction="backward", config={}), entry(batch=7, mode="modelled")]
    for each in made:
        store.save(each)
    bundle.save(store.entries(), tmp_path / "bundle.json")
    found = bundle.load(tmp_path / "bundle.json", there)
    assert (len(found.written), found.kept, found.refused) == (3, (), ())
    assert sorted(there.entries(), key=repr) == sorted(made, key=repr)


def test_measured_entries_are_not_replaced_by_modelled_ones(there: Store, entry: Make, tmp_path: Path) -> None:
    there.save(entry())
    found = bundle.load(_bundle(tmp_path, [entry(mode="modelled").describe()]), there)
    assert len(found.kept) == 1
    assert list(there.entries()) == [entry()]


def test_bad_entries_are_refused_by_name_and_others_imported(there: Store, entry: Make, tmp_path: Path) -> None:
    good, bad = entry().describe(), entry(batch=3).describe()
    entries = [good, bad | {"config": {"forward.plan": "none"}}, 7, bad | {"surplus": 1}, bad]
    found = bundle.load(_bundle(tmp_path, entries), there)
    assert len(found.written) == 2
    assert [text.partition(":")[0] for text in found.refused] == [
        "Entry 2 (strided(l=8))",
        "Entry 3",
        "Entry 4 (strided(l=8))",
    ]
    assert "config plan='none'" in found.refused[0]


@pytest.mark.parametrize("path", ["../../escaped", "/tmp/escaped", "..", "a\x00b"])
def test_names_in_a_bundle_are_not_paths(there: Store, entry: Make, tmp_path: Path, path: str) -> None:
    good = entry().describe()
    entries = (
        [
            good | {"key": good["key"] | {name: path}}
            for name in ("pattern", "score", "backend", "target", "dtype", "direction")
        ]
        + [good | {"environment": good["environment"] | {name: path}} for name in ("sources", "facts", "target")]
        + [good | {"digest": path}, good | {"name": path}]
    )
    found = bundle.load(_bundle(tmp_path, entries), there)
    assert len(found.refused) == len(entries)
    assert not there.root.exists()


def test_file_names_come_from_digests(there: Store, entry: Make, tmp_path: Path) -> None:
    made = entry(environment=replace(entry().environment, packages=(("torch", "../../escaped"),)))
    bundle.load(_bundle(tmp_path, [made.describe()]), there)
    files = [path for path in there.root.rglob("*") if path.is_file()]
    assert there.path(made.environment, made.key) in files
    assert all(path.is_relative_to(there.root / made.environment.digest) for path in files)


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b'{"format": 1}', b'{"format": 2, "entries": []}', b'{"format": 1, "entries": {}}', b"[" * 100_000],
)
def test_malformed_bundles_are_refused(there: Store, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bundle.json"
    path.write_bytes(content)
    with pytest.raises(ConfigError):
        bundle.load(path, there)
    assert not there.root.exists()


def test_missing_files_are_refused(there: Store, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        bundle.load(tmp_path / "none.json", there)


def test_huge_files_are_refused(there: Store, tmp_path: Path) -> None:
    path = tmp_path / "bundle.json"
    with path.open("wb") as file:
        file.truncate(bundle.MAX_BYTES + 1)
    with pytest.raises(ConfigError, match="at most 67,108,864"):
        bundle.load(path, there)
