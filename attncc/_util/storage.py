"""Where attncc keeps files between processes, and how it reads and writes files.

`write` and `save` are for files that a user names: they follow links and write into pipes, as any program does.
`put` is for files that attncc names, in a cache or in a folder of its own: what lies there is replaced, never followed.
"""

from __future__ import annotations

import atexit
import errno
import os
import secrets
import shutil
import stat
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import BinaryIO

from platformdirs import user_cache_path

from attncc.errors import AttnccWarning, ConfigError

#: Where caches lie, instead of the platform's place for them.
ENVIRONMENT = "ATTNCC_CACHE_DIR"
#: The folders that the root of all caches holds.
CACHES = ("tuned", "kernels", "compiled", "templates", "locks")
#: What files are called while they are written, and seconds after which their writer has died.
WRITING, ABANDONED = ".writing-", 3600.0
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
_warned: set[str] = set()


class CacheWarning(AttnccWarning):
    """A file of a cache wasn't what was written there and was made again, or the cache can't be written to."""


def chosen_root() -> Path:
    """Return the folder of all caches that this user chose, or the platform's."""
    chosen = os.environ.get(ENVIRONMENT)
    return Path(chosen) if chosen else user_cache_path("attncc")


def cache_root() -> Path:
    """Return the folder of all caches; it need not exist yet.

    One that others can write to is not used: with one warning, a temporary folder takes its place.
    """
    problem = _exposed_cache()
    if not problem:
        return chosen_root()
    warn_once(f"{problem} What this process tunes and compiles is forgotten when it ends.", problem)
    return temporary_folder()


def cache_folder(name: str) -> Path:
    """Return the folder of one cache; it need not exist yet."""
    return cache_root() / name


def check_cache() -> None:
    """Raise ConfigError where the caches aren't used, since others can write to them."""
    problem = _exposed_cache()
    if problem:
        raise ConfigError(
            problem,
            rule="Caches are used where nobody else could have written what is in them.",
            fix=f"Take the permission from the others (chmod go-w), or set {ENVIRONMENT} to a folder of your own.",
        )


def _exposed_cache() -> str:
    """Return a sentence on the folder of caches that others can write to, or an empty text."""
    root = chosen_root()
    for folder in (root, *(root / name for name in CACHES)):
        if said := exposure(folder):
            return f"The cache folder {folder} is not used: {said}, so that others can write to it."
    return ""


def exposure(path: Path) -> str:
    """Return what lets others write to a folder or file, or an empty text: it is missing, or this user's or root's."""
    if sys.platform == "win32":  # access is by lists there
        return ""
    try:
        link, status = path.lstat(), path.stat()
    except OSError:  # missing, or out of reach, of which whoever opens it tells
        return ""
    for each in (link, status):
        if each.st_uid not in (0, os.geteuid()):
            return f"it belongs to user {each.st_uid}"
    mode = stat.S_IMODE(status.st_mode)
    return f"its mode is {mode:04o}" if mode & 0o022 else ""


@cache
def temporary_folder() -> Path:
    """Return a folder of this process alone, which goes with it."""
    folder, owner = Path(tempfile.mkdtemp(prefix="attncc-")), os.getpid()

    def remove() -> None:
        if os.getpid() == owner:  # forked processes inherit what is done at exit
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    return folder


def make_folder(path: Path) -> None:
    """Make a folder, and those above it that are missing; raises OSError."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(mode=_permissions(path, 0o777), exist_ok=True)


def _permissions(path: Path, bits: int) -> int:
    """Return the permissions of what is made: in the caches, nobody else has any."""
    return bits & 0o700 if path.is_relative_to(cache_root()) else bits


def warn_once(message: str, about: str) -> None:
    """Warn of a file or folder, once in a process."""
    if about not in _warned:
        _warned.add(about)
        warnings.warn(message, CacheWarning, stacklevel=3)


def warn_unwritable(path: Path, error: Exception) -> None:
    """Warn, once in a process, that the cache a path is in can't be written to; the answer stands without it."""
    root, reason = cache_root(), getattr(error, "strerror", None) or error
    folder = root if path.is_relative_to(root) else path
    warn_once(
        f"The cache folder {folder} can't be written to ({reason}): what is tuned or compiled is not remembered there. "
        f"Make it writable, or set {ENVIRONMENT} to a folder that is.",
        str(folder),
    )


def check_regular(path: Path) -> os.stat_result:
    """Raise ConfigError for what would be read without an end: a device, a pipe, or a folder; or OSError."""
    return _regular(path, path.stat())


def opened(path: Path) -> BinaryIO:
    """Open a regular file for reading; raises ConfigError for a device, a pipe or a folder, or OSError. Never waits."""
    check_regular(path)  # opening a device, or a pipe, may do something
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0))
    try:
        _regular(path, os.fstat(descriptor))  # what is open now may be another file
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def appended(path: Path) -> BinaryIO:
    """Open a file that attncc names for appending; raises ConfigError for what isn't a regular one, a link or OSError.

    It is made if it isn't there. Never waits.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)
    descriptor = os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), _permissions(path, 0o666))
    try:
        _regular(path, os.fstat(descriptor))
        return os.fdopen(descriptor, "ab")
    except BaseException:
        os.close(descriptor)
        raise


def read(path: Path, limit: int) -> bytes:
    """Return a file's bytes; raises ConfigError for a device, a pipe, a folder, or more than `limit`, or OSError."""
    with opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        content = file.read(limit + 1) if size <= limit else b""
    size = max(size, len(content))  # it may have grown, and those of /proc say that they are empty
    if size > limit:
        raise ConfigError(
            f"{path} has {size:,} bytes.",
            rule=f"Files of this kind have at most {limit:,}.",
            fix="Check that it is the file that is meant.",
        )
    return content


def put(path: Path, content: bytes, root: Path) -> None:
    """Write a file that attncc names, in one step; raises OSError.

    A link or a pipe that lies at `path` is replaced. A folder that a link leads out of `root` is refused.
    """
    check_inside(path, root)
    put_unchecked(path, content, durable=True)


def put_unchecked(path: Path, content: bytes, *, durable: bool) -> None:
    """Write a file as `put` does, in a folder that `check_inside` has passed; raises OSError.

    A durable file is on the disk when this returns, whatever happens to the machine then. Others take a fraction of
    the time.
    """
    _replace(path, content, _kept_mode(path), durable)


def check_inside(path: Path, root: Path) -> None:
    """Raise OSError where a link leads the folder of a path out of `root`, which may be a link itself."""
    if not is_inside(path, root):
        raise OSError(errno.ELOOP, f"a link leads {path.parent} out of {root}", str(path))


def is_inside(path: Path, root: Path) -> bool:
    """Return whether the folder of a path, past all links, is in `root`."""
    return path.parent.resolve().is_relative_to(root.resolve())


def abandoned() -> Iterator[Path]:
    """Yield the files of all caches that a process was writing when it was killed."""
    for name in CACHES:
        for folder, _, files in os.walk(cache_folder(name)):
            yield from (path for file in sorted(files) if _is_abandoned(path := Path(folder, file)))


def _is_abandoned(path: Path) -> bool:
    try:
        return path.name.startswith(WRITING) and time.time() - path.lstat().st_mtime > ABANDONED
    except OSError:  # done meanwhile
        return False


def _regular(path: Path, status: os.stat_result) -> os.stat_result:
    if not stat.S_ISREG(status.st_mode):
        raise ConfigError(
            f"{path} isn't a regular file.",
            rule="What attncc reads is a file of known size: no device, pipe or folder.",
            fix="Copy it to a file first.",
        )
    return status


def _kept_mode(path: Path | str) -> int | None:
    """Return the mode of the regular file that is replaced, or None where there is none."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return None
    return stat.S_IMODE(status.st_mode) if stat.S_ISREG(status.st_mode) else None


def write(path: Path, content: bytes) -> None:
    """Write a file; raises OSError.

    A regular file is written in one step, so that a reader sees all of it or nothing. It gets the mode of the file that
    it replaces, or what the umask leaves. What a link names is written in place of the link. A device, a pipe and this
    process's own output are written straight into.
    """
    status = _found(path)
    descriptor = None if status is None else _own(status)
    if descriptor is not None:
        sys.stdout.flush()
        _send(os.dup(descriptor), content)
    elif status is not None and not stat.S_ISREG(status.st_mode):
        _send(os.open(path, os.O_WRONLY), content)
    else:
        _replace(Path(os.path.realpath(path)), content, None if status is None else stat.S_IMODE(status.st_mode))


def save(path: Path, content: bytes, option: str) -> None:
    """Write a file that a user named with an option; raises ConfigError where it can't be written."""
    try:
        write(path, content)
    except OSError as error:
        raise _refused(path, option, error) from error


def check_file(path: Path | None, option: str) -> None:
    """Raise ConfigError if it is plain beforehand that `save` can't write a file; None is nothing to write."""
    if path is None:
        return
    try:
        status = _found(path)
        if status is None:
            _check_folder(Path(os.path.realpath(path)).parent)
        elif stat.S_ISDIR(status.st_mode):
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
        else:
            _check_access(path)
            if stat.S_ISREG(status.st_mode) and _own(status) is None:
                _check_folder(Path(os.path.realpath(path)).parent)
    except OSError as error:
        raise _refused(path, option, error) from error


def check_folder(path: Path, option: str) -> None:
    """Raise ConfigError if it is plain beforehand that files can't be written in a folder, which need not exist."""
    try:
        _check_folder(path)
    except OSError as error:
        raise ConfigError(
            f"{option} {path}: {error.strerror}.",
            rule="It is a folder that files can be written in.",
            fix="Choose another folder.",
        ) from error


def _check_folder(path: Path) -> None:
    """Raise OSError unless a folder, or the nearest one above it that exists, takes new files."""
    there = path
    while _found(there) is None and there != there.parent:
        there = there.parent
    if not there.is_dir():
        raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    _check_access(there)


def _check_access(path: Path | str) -> None:
    if not os.access(path, os.W_OK):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))


def _refused(path: Path, option: str, error: OSError) -> ConfigError:
    return ConfigError(
        f"{option} {path} can't be written: {error.strerror}.",
        rule="It is a file that can be written, on a disk with room for it.",
        fix="Choose another file.",
    )


def _found(path: Path) -> os.stat_result | None:
    """Return what a path names, past links, or None where nothing is there; raises OSError."""
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _own(status: os.stat_result) -> int | None:
    """Return the descriptor of this process's output that a file is, as /dev/stdout and the target of a `>` are."""
    for descriptor in (1, 2):
        try:
            if os.path.samestat(status, os.fstat(descriptor)):
                return descriptor
        except OSError:  # closed
            continue
    return None


def _send(descriptor: int, content: bytes) -> None:
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def _replace(path: Path, content: bytes, mode: int | None, durable: bool = True) -> None:
    make_folder(path.parent)
    Writer(path.parent, durable=durable).replace(path.name, content, mode)


class Writer:
    """Writes files into a folder that `check_inside` has passed, each in one step, as `put_unchecked` does.

    What thousands of them have alike is found once. A process that is killed leaves at most what `abandoned` finds.
    """

    def __init__(self, folder: Path, *, durable: bool) -> None:
        self._folder, self._durable, self._bits = os.fspath(folder), durable, _permissions(folder / WRITING, 0o7777)
        self._temporary = os.path.join(self._folder, f"{WRITING}{secrets.token_hex(8)}")

    def put(self, name: str, content: bytes) -> None:
        """Write a file that attncc names, as `put` does; raises OSError."""
        self.replace(name, content, _kept_mode(os.path.join(self._folder, name)))

    def replace(self, name: str, content: bytes, mode: int | None) -> None:
        """Write a file that has `mode` if it is there, None where it isn't; raises OSError."""
        path = os.path.join(self._folder, name)
        if mode is not None:
            _check_access(path)  # a file that is marked read-only is kept, though its folder would let it be replaced
        try:
            descriptor = os.open(self._temporary, _NEW_FILE, 0o666 & self._bits)
            try:
                if mode is not None:
                    os.fchmod(descriptor, mode & self._bits)
                _write_all(descriptor, content)
                if self._durable:
                    os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.replace(self._temporary, path)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(self._temporary)
            raise


def _write_all(descriptor: int, content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[os.write(descriptor, left) :]
