"""The kernel cache: damaged and unwritable files, and names by content."""

from __future__ import annotations

import importlib.util
import inspect
import os
import py_compile
import stat
from pathlib import Path

import pytest

from attncc._util.storage import CacheWarning
from attncc.backends.triton import modules
from attncc.backends.triton.modules import render
from attncc.backends.triton.spec import Spec

SPEC = Spec("forward", start="slanted", stop="slanted")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ATTNCC_CACHE_DIR", str(tmp_path))
    return tmp_path / "kernels"


def test_each_kernel_has_one_file(folder: Path) -> None:
    first = modules.path_of(SPEC)
    assert first.parent == folder
    assert modules.path_of(Spec("forward", start="slanted", stop="slanted")) == first
    assert modules.path_of(Spec("forward", start="stored", stop="slanted")) != first
    assert first.read_text("utf-8") == render(SPEC)
    assert len(list(folder.iterdir())) == 2


@pytest.mark.parametrize("damage", [b"", b"import os\n", b"\xff\xfe\x00"], ids=["empty", "foreign", "no text"])
def test_damaged_kernels_are_written_again(damage: bytes) -> None:
    path = modules.path_of(SPEC)
    path.write_bytes(damage)
    with pytest.warns(CacheWarning, match="damaged"):
        assert modules.path_of(SPEC) == path
    assert path.read_text("utf-8") == render(SPEC)


def test_pipes_in_place_of_a_kernel_are_replaced() -> None:
    path = modules.path_of(SPEC)
    path.unlink()
    os.mkfifo(path)
    with pytest.warns(CacheWarning, match="damaged"):
        assert modules.path_of(SPEC) == path
    assert path.read_text("utf-8") == render(SPEC)


def test_links_in_place_of_a_kernel_are_replaced_without_following(folder: Path) -> None:
    path, mine = modules.path_of(SPEC), folder.parent / "mine"
    mine.write_bytes(b"mine")
    path.unlink()
    path.symlink_to(mine)
    with pytest.warns(CacheWarning, match="damaged"):
        assert modules.path_of(SPEC) == path
    assert mine.read_bytes() == b"mine"
    assert path.read_text("utf-8") == render(SPEC)


def test_an_unwritable_cache_falls_back_with_a_warning(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.parent.joinpath("kernels").write_text("a file where the folder should be")
    with pytest.warns(CacheWarning, match="can't be written"):
        path = modules.path_of(SPEC)
    assert path.read_text("utf-8") == render(SPEC)


def test_kernels_run_the_text_that_is_compared(folder: Path) -> None:
    path = modules.path_of(SPEC)
    planted = importlib.util.cache_from_source(str(path))
    foreign = folder / "foreign.py"
    foreign.write_text("raise SystemExit('the bytecode ran')")
    py_compile.compile(str(foreign), planted, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    modules._kernels.clear()
    function = modules.kernel(SPEC).fn
    path.write_text("import os\n")  # after it was compared
    lines, _ = inspect.getsourcelines(function)
    assert "".join(lines) in render(SPEC)
    assert lines[-1].strip()


def test_no_bytecode_is_kept(folder: Path) -> None:
    modules._environment.cache_clear()
    render.cache_clear()
    modules._kernels.clear()
    modules.kernel(SPEC)
    assert [path.name for path in folder.parent.rglob("*")] == ["kernels", modules.path_of(SPEC).name]


def test_cache_folders_are_private_to_the_user(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTNCC_CACHE_DIR", str(folder / "new" / "cache"))
    path = modules.path_of(SPEC)
    assert {stat.S_IMODE(each.stat().st_mode) for each in (path.parent, path.parent.parent)} == {0o700}


def test_caches_writable_by_others_are_not_used(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.warns(CacheWarning, match=r"kernels is not used: its mode is 0777, so that others can write to it"):
        path = modules.path_of(SPEC)
    assert path.read_text("utf-8") == render(SPEC)
    assert not any(folder.iterdir())
    assert modules.path_of(SPEC) == path  # the warning comes once
