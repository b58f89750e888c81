"""Files: atomic writes, direct writes into irregular files, early checks, and bounded reads."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from attncc._util import storage
from attncc.errors import ConfigError

AS_ROOT = os.geteuid() == 0


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o027)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_new_files_respect_the_umask(tmp_path: Path, umask: None) -> None:
    storage.write(tmp_path / "new", b"x")
    assert mode(tmp_path / "new") == 0o640
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_replaced_files_keep_their_mode(tmp_path: Path) -> None:
    path = tmp_path / "old"
    path.write_bytes(b"old")
    path.chmod(0o604)
    storage.write(path, b"new")
    assert (path.read_bytes(), mode(path)) == (b"new", 0o604)


@pytest.mark.parametrize("there", [True, False], ids=["to a file", "to nothing yet"])
def test_links_are_written_through(tmp_path: Path, there: bool) -> None:
    target, link = tmp_path / "elsewhere" / "target", tmp_path / "link"
    target.parent.mkdir()
    if there:
        target.write_bytes(b"old")
    link.symlink_to(target)
    storage.write(link, b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert [path.name for path in target.parent.iterdir()] == ["target"]


def test_circular_links_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(ConfigError, match="can't be written"):
        storage.check_file(tmp_path / "a", "--png")
    with pytest.raises(ConfigError, match="can't be written"):
        storage.save(tmp_path / "a", b"x", "--png")


def test_pipes_are_written_directly(tmp_path: Path) -> None:
    pipe, read = tmp_path / "pipe", list[bytes]()
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    storage.write(pipe, b"through")
    reader.join(10)
    assert read == [b"through"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_devices_are_written_directly() -> None:
    storage.write(Path("/dev/null"), b"gone")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


@pytest.mark.parametrize("into", ["a pipe", "a file"])
def test_writes_to_dev_stdout_keep_the_order_of_prints(tmp_path: Path, into: str) -> None:
    program = (
        "from pathlib import Path\nfrom attncc._util import storage\n"
        "print('before')\nstorage.check_file(Path('/dev/stdout'), '--png')\n"
        "storage.write(Path('/dev/stdout'), b'written\\n')\nprint('after')"
    )
    if into == "a pipe":
        found = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout
    else:
        with (tmp_path / "out").open("wb") as file:
            subprocess.run([sys.executable, "-c", program], stdout=file, check=True)
        found = (tmp_path / "out").read_bytes()
    assert found == b"before\nwritten\nafter\n"


def test_failed_writes_keep_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "kept"
    path.write_bytes(b"old")

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ConfigError, match=r"(?s)--export .*No space left.*disk with room.*another file"):
        storage.save(path, b"new", "--export")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


#: Writes what its argument names over and over; a second argument is the most bytes that a file may have.
WRITER = """
import resource, sys
from pathlib import Path
from attncc._util import storage
path, limit = Path(sys.argv[1]), int(sys.argv[2])
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
storage.save(path, b"a" * (1 << 20), "--out")
print("ready", flush=True)
while True:
    for letter in (b"b", b"a"):
        storage.save(path, letter * (1 << 20), "--out")
"""


def writer(path: Path, limit: int = 0) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", WRITER, str(path), str(limit)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_killed_writers_leave_whole_files(tmp_path: Path) -> None:
    path = tmp_path / "kept"
    for milliseconds in (1, 7, 20):
        with writer(path) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(milliseconds / 1000)
            process.kill()
        content = path.read_bytes()
        assert (len(content), len(set(content))) == (1 << 20, 1)


def test_writes_past_a_limit_of_the_system_keep_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "kept"
    path.write_bytes(b"old")
    with writer(path, limit=4096) as process:
        said = process.communicate()[1].decode()
    assert "can't be written: File too large." in said
    assert [each.name for each in tmp_path.iterdir()] == ["kept"]
    assert path.read_bytes() == b"old"


def test_paths_are_checked_beforehand(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path, tmp_path / "file" / "x", tmp_path / "file" / "x" / "y"):
        with pytest.raises(ConfigError, match="--png"):
            storage.check_file(path, "--png")
    for path in (tmp_path / "file", tmp_path / "new", tmp_path / "new" / "x", Path("/dev/null"), None):
        storage.check_file(path, "--png")
    storage.check_folder(tmp_path / "new" / "folder", "--out")
    with pytest.raises(ConfigError, match="--out"):
        storage.check_folder(tmp_path / "file", "--out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


@pytest.mark.skipif(AS_ROOT, reason="nothing is read-only to root")
def test_read_only_paths_are_refused(tmp_path: Path) -> None:
    folder, file = tmp_path / "folder", tmp_path / "file"
    folder.mkdir(mode=0o500)
    file.write_bytes(b"kept")
    file.chmod(0o400)
    for path in (folder / "x", file):
        with pytest.raises(ConfigError, match="Permission denied"):
            storage.check_file(path, "--png")
        with pytest.raises(ConfigError, match="Permission denied"):
            storage.save(path, b"x", "--png")
    assert file.read_bytes() == b"kept"


def test_reads_are_bounded(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert storage.read(path, 5) == b"12345"
    with pytest.raises(ConfigError, match="has 5 bytes"):
        storage.read(path, 4)
    os.mkfifo(tmp_path / "pipe")
    for other in (tmp_path / "pipe", tmp_path, Path("/dev/zero")):
        with pytest.raises(ConfigError, match="a regular file"):
            storage.read(other, 5)


def test_unwritable_caches_warn_once_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTNCC_CACHE_DIR", str(tmp_path))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for name in ("tuned", "kernels", "compiled"):
            storage.warn_unwritable(storage.cache_folder(name) / "x", OSError(30, "Read-only file system"))
    [said] = map(str, (each.message for each in caught))
    assert str(tmp_path) in said
    assert "Read-only file system" in said
    assert "set ATTNCC_CACHE_DIR" in said


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The root of all caches, and beside it the folder `elsewhere`."""
    monkeypatch.setenv("ATTNCC_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "elsewhere").mkdir()
    return tmp_path / "cache"


def test_cache_files_replace_links_and_pipes(cache: Path) -> None:
    target = cache.parent / "elsewhere" / "mine"
    target.write_bytes(b"mine")
    storage.put(cache / "kernels" / "plain", b"x", cache)
    (cache / "kernels" / "link").symlink_to(target)
    (cache / "kernels" / "dangling").symlink_to(target.with_name("new"))
    os.mkfifo(cache / "kernels" / "pipe")
    for name in ("link", "dangling", "pipe"):
        storage.put(cache / "kernels" / name, b"x", cache)
    found = list((cache / "kernels").iterdir())
    assert {path.name for path in found} == {"plain", "link", "dangling", "pipe"}
    assert all(stat.S_ISREG(path.lstat().st_mode) and path.read_bytes() == b"x" for path in found)
    assert [path.name for path in target.parent.iterdir()] == ["mine"]
    assert target.read_bytes() == b"mine"


def test_folders_linked_out_of_the_cache_are_refused(cache: Path) -> None:
    cache.mkdir()
    (cache / "kernels").symlink_to(cache.parent / "elsewhere")
    with pytest.raises(OSError, match="out of"):
        storage.put(cache / "kernels" / "x", b"x", cache)
    assert list((cache.parent / "elsewhere").iterdir()) == []


def test_the_cache_itself_may_be_a_link(cache: Path) -> None:
    cache.symlink_to(cache.parent / "elsewhere")
    storage.put(cache / "kernels" / "x", b"x", cache)
    assert (cache.parent / "elsewhere" / "kernels" / "x").read_bytes() == b"x"


@pytest.mark.parametrize("kind", ["a link", "a pipe", "a folder"])
def test_appending_requires_a_regular_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "log"
    with storage.appended(path) as file:
        file.write(b"one")
    with storage.appended(path) as file:
        file.write(b" two")
    assert path.read_bytes() == b"one two"
    other = tmp_path / "other"
    {"a link": lambda: other.symlink_to(path), "a pipe": lambda: os.mkfifo(other), "a folder": other.mkdir}[kind]()
    with pytest.raises((OSError, ConfigError)):
        storage.appended(other)
    assert path.read_bytes() == b"one two"


def test_reads_do_not_block_on_a_pipe_swapped_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_bytes(b"")
    regular = (tmp_path / "file").stat()
    monkeypatch.setattr(Path, "stat", lambda self, **options: regular)  # its state a moment ago
    with pytest.raises(ConfigError, match="a regular file"):
        storage.read(tmp_path / "pipe", 5)


def test_abandoned_files_are_found(cache: Path) -> None:
    for name in ("kernels", "tuned", "mine"):
        (cache / name / "deep").mkdir(parents=True)
        for age in (0, 2 * storage.ABANDONED):
            path = cache / name / "deep" / f"{storage.WRITING}{age:.0f}"
            path.write_bytes(b"")
            os.utime(path, (path.stat().st_mtime - age,) * 2)
    (cache / "kernels" / "linked").symlink_to(cache / "mine")
    assert sorted(path.parent.parent.name for path in storage.abandoned()) == ["kernels", "tuned"]


def test_cache_files_are_private_to_the_user(cache: Path, umask: None) -> None:
    storage.put(storage.cache_folder("kernels") / "deep" / "file", b"", storage.cache_root())
    storage.put(cache.parent / "out" / "deep" / "file", b"", cache.parent)
    found = {path.relative_to(cache.parent).as_posix(): mode(path) for path in cache.parent.glob("[co]*/**/*")}
    assert found == {
        "cache/kernels": 0o700, "cache/kernels/deep": 0o700, "cache/kernels/deep/file": 0o600,
        "out/deep": 0o750, "out/deep/file": 0o640,
    }  # fmt: skip
    assert mode(cache) == 0o700


@pytest.mark.parametrize("name", ["", "kernels"], ids=["root", "folder"])
@pytest.mark.parametrize("bits", [0o777, 0o775, 0o1777])
def test_caches_writable_by_others_are_refused(name: str, bits: int, cache: Path) -> None:
    exposed = cache / name
    storage.make_folder(cache / "kernels")
    storage.check_cache()
    exposed.chmod(bits)
    with pytest.warns(storage.CacheWarning, match=f"{exposed} is not used: its mode is {bits:04o}"):
        folder = storage.cache_folder("kernels")
    assert not folder.is_relative_to(cache)
    assert mode(folder.parent) == 0o700
    assert storage.cache_folder("kernels") == folder
    with pytest.raises(ConfigError, match="chmod go-w"):
        storage.check_cache()
    storage.put(folder / "file", b"x", folder)
    assert (folder / "file").read_bytes() == b"x"
    exposed.chmod(0o755)
    assert storage.cache_folder("kernels") == cache / "kernels"


@pytest.mark.skipif(not AS_ROOT, reason="only root gives files away")
@pytest.mark.parametrize("given", ["folder", "link"])
def test_caches_of_another_user_are_refused(given: str, tmp_path: Path) -> None:
    folder, link = tmp_path / "folder", tmp_path / "link"
    folder.mkdir()
    link.symlink_to(folder)
    assert storage.exposure(link) == ""
    os.chown(tmp_path / given, 12345, -1, follow_symlinks=False)
    assert storage.exposure(link) == "it belongs to user 12345"


def test_temporary_caches_end_with_their_process_only() -> None:
    script = (
        "import os, sys\nfrom attncc._util import storage\nfolder = storage.temporary_folder()\n"
        "child = os.fork()\nif not child:\n    sys.exit()\nos.waitpid(child, 0)\nprint(folder, folder.is_dir())"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert told[1] == "True"
    assert not Path(told[0]).exists()
