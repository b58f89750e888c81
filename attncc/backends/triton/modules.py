"""The kernel cache: generated modules on disk, under the hash of their source, imported once a process."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import warnings
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from attncc.backends.triton.source import render
from attncc.backends.triton.spec import Spec
from attncc.storage import CacheWarning, cache_folder, write


def folder() -> Path:
    """Return the folder of generated modules."""
    return cache_folder("kernels")


def path_of(spec: Spec) -> Path:
    """Return the file of a kernel, written if it isn't there; a damaged one is written again, with a warning."""
    text = render(spec)
    path = folder() / f"{spec.kernel}_{hashlib.sha256(text.encode()).hexdigest()[:32]}.py"
    if path.exists():
        if _read(path) == text:
            return path
        warnings.warn(f"{path} was damaged and has been generated again.", CacheWarning, stacklevel=2)
    write(path, text.encode())
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
