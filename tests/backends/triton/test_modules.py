"""The kernel cache: files that are damaged or can't be written, and names that follow the content."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from attncc.backends.triton import modules, source
from attncc.backends.triton.source import render
from attncc.backends.triton.spec import Spec
from attncc.storage import CacheWarning

SPEC = Spec("forward", start="slanted", stop="slanted")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ATTNCC_CACHE_DIR", str(tmp_path))
    return tmp_path / "kernels"


def test_one_file_a_kernel(folder: Path) -> None:
    first = modules.path_of(SPEC)
    assert first.parent == folder
    assert modules.path_of(Spec("forward", start="slanted", stop="slanted")) == first
    assert modules.path_of(Spec("forward", start="stored", stop="slanted")) != first
    assert first.read_text("utf-8") == render(SPEC)
    assert len(list(folder.iterdir())) == 2


@pytest.mark.parametrize("damage", [b"", b"import os\n", b"\xff\xfe\x00"], ids=["empty", "foreign", "no text"])
def test_a_damaged_file_is_written_again(damage: bytes) -> None:
    path = modules.path_of(SPEC)
    path.write_bytes(damage)
    with pytest.warns(CacheWarning, match="damaged"):
        assert modules.path_of(SPEC) == path
    assert path.read_text("utf-8") == render(SPEC)


def test_a_pipe_in_place_of_a_kernel_is_replaced() -> None:
    path = modules.path_of(SPEC)
    path.unlink()
    os.mkfifo(path)
    with pytest.warns(CacheWarning, match="damaged"):
        assert modules.path_of(SPEC) == path
    assert path.read_text("utf-8") == render(SPEC)


def test_a_link_in_place_of_a_kernel_is_replaced_and_not_followed(folder: Path) -> None:
    path, mine = modules.path_of(SPEC), folder.parent / "mine"
    mine.write_bytes(b"mine")
    path.unlink()
    path.symlink_to(mine)
    with pytest.warns(CacheWarning, match="damaged"):
        assert modules.path_of(SPEC) == path
    assert mine.read_bytes() == b"mine"
    assert path.read_text("utf-8") == render(SPEC)


def test_a_cache_that_cannot_be_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.parent.joinpath("kernels").write_text("a file where the folder should be")
    with pytest.warns(CacheWarning, match="can't be written"):
        path = modules.path_of(SPEC)
    assert path.read_text("utf-8") == render(SPEC)


def test_a_full_disk_took_the_kernel_with_the_compiled_template(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(bucket: object, file: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("jinja2.bccache.Bucket.write_bytecode", full)
    source._environment.cache_clear()
    render.cache_clear()
    with pytest.warns(CacheWarning, match="No space left on device"):
        assert "def forward" in render(SPEC)
    source._environment.cache_clear()
