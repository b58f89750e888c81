"""`attncc cache`, as a user runs it."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

import attncc
from attncc._util.storage import CACHES
from attncc.cli.entries import listing
from attncc.configs.entry import Entry, about
from attncc.configs.environment import Environment
from attncc.configs.store import Store
from attncc.runtime.explain import explain_config

PROGRAM = "from attncc.cli import main; main()"
CAUSAL = attncc.load("causal")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A user's store with one entry, and one of another release of torch."""
    store = Store(tmp_path / "cache" / "tuned")
    [found] = explain_config(CAUSAL, 1024, backend="torch", target="cpu", direction="forward").directions
    made = Entry(
        found.key,
        Environment.of("torch", "cpu"),
        {"forward.query_tile": 64},
        "measured",
        {"best": 0.001, "default": 0.002},
        about=about(CAUSAL, 1024, 1024),
    )
    store.save(made)
    store.save(replace(made, environment=replace(made.environment, packages=(("torch", "1.0"),))))
    return store


def run(store: Store, *arguments: str, status: int = 0) -> str:
    command = [sys.executable, "-c", PROGRAM, "cache", *arguments]
    environ = os.environ | {"ATTNCC_CACHE_DIR": str(store.root.parent), "COLUMNS": "200"}
    found = subprocess.run(command, capture_output=True, text=True, check=False, env=environ)
    assert found.returncode == status, found.stderr
    assert "Traceback" not in found.stderr
    return found.stdout if status < 2 else found.stderr


def test_path_lists_every_cache(store: Store) -> None:
    text = run(store, "path")
    assert all(str(store.root.parent / name) in text for name in CACHES)
    found = json.loads(run(store, "path", "--json"))
    assert found["path"] == str(store.root.parent)
    assert {name: each["path"] for name, each in found["caches"].items()} == {
        name: str(store.root.parent / name) for name in CACHES
    }
    assert found["caches"]["tuned"]["files"] > 0


def filled(store: Store) -> dict[str, Path]:
    """Put a file into each cache, and one beside them."""
    files = {name: store.root.parent / name / "deep" / "file" for name in (*CACHES, "mine")}
    for file in files.values():
        file.parent.mkdir(parents=True)
        file.write_bytes(b"12345")
    return files


def test_clearing_removes_only_the_named_caches(store: Store) -> None:
    files = filled(store)
    assert "kernels" in run(store, "clear", "kernels", "--dry-run")
    assert "Add --yes" in run(store, "clear", "kernels", status=2)
    assert files["kernels"].exists()
    found = json.loads(run(store, "clear", "kernels", "compiled", "--yes", "--json"))
    assert {name: each["bytes"] for name, each in found["removed"].items()} == {"kernels": 5, "compiled": 5}
    assert [name for name, file in files.items() if not file.exists()] == ["kernels", "compiled"]
    assert not files["kernels"].parent.exists()
    assert "It is one of" in run(store, "clear", "locks", "--yes", status=2)
    run(store, "clear", "--yes")
    assert [name for name, file in files.items() if file.exists()] == ["locks", "mine"]
    assert list(store.entries()) == []
    assert "nothing to remove" in run(store, "clear", "--yes")


def test_clearing_follows_no_links_outside(store: Store, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    root = store.root.parent
    (root / "kernels").symlink_to(outside)
    (root / "compiled").mkdir()
    (root / "compiled" / "link").symlink_to(outside)
    run(store, "clear", "--yes")
    assert (outside / "precious").exists()
    assert not (root / "compiled" / "link").is_symlink()


def test_caches_writable_by_others_are_an_error(store: Store) -> None:
    store.root.chmod(0o777)
    for command in (("path",), ("list",), ("prune",), ("import", "tuned.json")):
        assert f"{store.root} is not used: its mode is 0777" in " ".join(run(store, *command, status=2).split())
    store.root.chmod(0o700)
    assert "2 entries" in run(store, "list")


def test_list_shows_every_entry(store: Store) -> None:
    text = run(store, "list")
    assert "2 entries" in text
    assert "2.00 x" in text
    assert "causal()" in text
    rows = json.loads(run(store, "list", "--json"))["entries"]
    assert [row["config"] for row in rows] == [{"forward.query_tile": 64}] * 2


def test_show_finds_entries_by_digest(store: Store) -> None:
    digest = next(store.entries()).key.digest
    assert "config: forward.query_tile" in run(store, "show", digest[:6])
    assert len(json.loads(run(store, "show", digest, "--json"))["entries"]) == 2
    assert "No entry's key begins with 'zz'" in run(store, "show", "zz", status=2)


def test_show_explains_the_configuration_of_a_pattern(store: Store) -> None:
    here = ["--backend", "torch", "--target", "cpu"]
    assert "An exact configuration" in run(store, "show", "causal", "-n", "1024", "--direction", "fwd", *here)
    text = run(store, "show", "causal", "-n", "1024", "--head-dim", "512", "--direction", "fwd", "--why-miss", *here)
    assert "The default configuration" in text
    assert "was tuned for heads of 64, not heads of 512" in text
    assert ", not torch " in text
    found = json.loads(run(store, "show", "causal", "-n", "1024", "--why-miss", "--json", *here))
    assert found["directions"]["forward"]["source"] == "exact"
    assert found["why_miss"]["backward"][0]["key_differences"] == {"direction": ["backward", "forward"]}
    assert "--direction up" in run(store, "show", "causal", "-n", "1024", "--direction", "up", status=2)


def test_export_and_import_round_trip(store: Store, tmp_path: Path) -> None:
    bundle, there = tmp_path / "bundle.json", tmp_path / "there"
    assert json.loads(run(store, "export", str(bundle), "--json"))["entries"] == 2
    assert json.loads(run(store, "export", str(tmp_path / "none"), "--target", "h100", "--json"))["entries"] == 0
    found = json.loads(run(store, "import", str(bundle), "--to", str(there), "--json"))
    assert (found["written"], found["kept"], found["refused"]) == (2, 0, [])
    assert list(Store(there).entries()) == list(store.entries())
    content = json.loads(bundle.read_text(encoding="utf-8"))
    content["entries"][0]["mode"] = "guessed"
    bundle.write_text(json.dumps(content), encoding="utf-8")
    assert "Entry 1 (causal())" in run(store, "import", str(bundle), status=1)
    assert "No such file" in run(store, "import", str(tmp_path / "gone"), status=2)


def test_verify_and_prune_find_damaged_and_outdated_files(store: Store) -> None:
    assert "2 files, 0 damaged" in run(store, "verify")
    current = next(store.entries(Environment.of("torch", "cpu")))
    path = store.path(current.environment, current.key)
    path.write_bytes(path.read_bytes()[:100])
    assert json.loads(run(store, "verify", "--json", status=1))["damaged"][0]["file"] == str(path)
    found = json.loads(run(store, "prune", "--dry-run", "--json"))
    assert (len(found["environments"]), found["files"]) == (1, [str(path)])
    assert path.exists()
    run(store, "prune")
    assert not path.exists()
    assert [folder.name for folder in store.environments()] == [current.environment.digest]
    run(store, "prune", "--all")
    assert store.environments() == []


@pytest.mark.parametrize("command", [["list"], ["verify"], ["import", "bundle.json"]], ids=lambda command: command[0])
def test_a_file_in_place_of_the_cache_is_an_error(tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    assert "Not a directory" in run(Store(tmp_path / "file" / "tuned"), *command, status=2)


def test_headings_of_the_list_fit_80_columns(store: Store) -> None:
    [entry, *_] = store.entries()
    console = Console(width=80, file=io.StringIO())
    console.print(listing([replace(entry, about=about(attncc.load("strided", l=128), 2**20, 2**20))], "title"))
    printed = console.file.getvalue()
    assert "strided(l=128)\nkey       direction  target" in printed
    assert len(printed.strip().splitlines()) == 5


@pytest.mark.parametrize("command", ["path", "list", "show", "export", "import", "verify", "prune"])
def test_help_has_an_example(store: Store, command: str) -> None:
    assert f"Example: attncc cache {command}" in run(store, command, "--help")


def test_lookups_distinguish_scores(store: Store) -> None:
    asked = ["show", "causal", "--seq-len", "1024", "--direction", "fwd", "--why-miss", "--json"]
    found = json.loads(run(store, *asked, "--score", "softcap", "--score-param", "cap=50"))
    assert found["directions"]["forward"]["source"] == "default"
    assert {name for miss in found["why_miss"]["forward"] for name in miss["key_differences"]} == {"score"}
    assert json.loads(run(store, *asked))["directions"]["forward"]["source"] == "exact"
    assert "-s cap=50 without --score" in run(store, *asked, "--score-param", "cap=50", status=2)
