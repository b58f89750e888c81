"""The kernel cache: generated modules on disk, under the hash of their source, imported once a process."""

from __future__ import annotations

import atexit
import hashlib
import importlib.util
import shutil
import sys
import tempfile
import warnings
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from attncc.backends.triton.source import render
from attncc.backends.triton.spec import Spec
from attncc.errors import ConfigError
from attncc.storage import CacheWarning, cache_folder, put, read, warn_unwritable, write


def folder() -> Path:
    """Return the folder of generated modules."""
    return cache_folder("kernels")


def path_of(spec: Spec) -> Path:
    """Return the file of a kernel, written if it isn't there.

    A damaged file is written again, and where the cache can't be written to, the file is a temporary one: either
    with a warning.
    """
    text = render(spec)
    name = f"{spec.kernel}_{hashlib.sha256(text.encode()).hexdigest()[:32]}.py"
    path = folder() / name
    if path.exists():
        if _read(path, 4 * len(text)) == text:
            return path
        warnings.warn(f"{path} was damaged and has been generated again.", CacheWarning, stacklevel=2)
    try:
        put(path, text.encode(), folder())
    except OSError as error:
        warn_unwritable(path, error)
        path = _temporary() / name
        write(path, text.encode())
    return path


@cache
def _temporary() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="attncc-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@cache
def kernel(spec: Spec) -> Any:
    """Return the kernel of a spec: a triton JITFunction, or an interpreted one under TRITON_INTERPRET=1."""
    return getattr(_imported(path_of(spec)), spec.kernel)


def _imported(path: Path) -> ModuleType:
    name = f"attncc_generated.{path.stem}"
    found = importlib.util.spec_from_file_location(name, path)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module
    found.loader.exec_module(module)
    return module


def _read(path: Path, limit: int) -> str | None:
    try:
        return read(path, limit).decode()
    except (OSError, ConfigError, UnicodeDecodeError):
        return None
