"""The kernel cache: generated modules on disk, under the hash of their source, imported once a process."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
import tempfile
import warnings
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from platformdirs import user_cache_path

from attncc.backends.triton.source import render
from attncc.backends.triton.spec import Spec

#: Where caches lie, instead of the platform's place for them.
ENVIRONMENT = "ATTNCC_CACHE_DIR"


class KernelCacheWarning(UserWarning):
    """A file of the kernel cache wasn't what was written there; it was written again."""


def folder() -> Path:
    """Return the folder of generated modules."""
    chosen = os.environ.get(ENVIRONMENT)
    return (Path(chosen) if chosen else user_cache_path("attncc")) / "kernels"


def path_of(spec: Spec) -> Path:
    """Return the file of a kernel, written if it isn't there; a damaged one is written again, with a warning."""
    text = render(spec)
    path = folder() / f"{spec.kernel}_{hashlib.sha256(text.encode()).hexdigest()[:32]}.py"
    if path.exists():
        if _read(path) == text:
            return path
        warnings.warn(f"{path} was damaged and has been generated again.", KernelCacheWarning, stacklevel=2)
    _write(path, text)
    return path


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


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def _write(path: Path, text: str) -> None:
    """Write a file in one step, so that a reader sees all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
