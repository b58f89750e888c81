"""The kernel cache: generated modules as files, under the hash of their source, for people and tools to read.

What runs is the text that was generated, never what a file holds.
"""

from __future__ import annotations

import hashlib
import warnings
from functools import cache
from pathlib import Path
from typing import Any

from attncc._util.storage import CacheWarning, cache_folder, put, read, temporary_folder, warn_unwritable
from attncc.backends.triton.source import render
from attncc.backends.triton.spec import Spec
from attncc.errors import ConfigError
from attncc.machine_code.source import module


def folder() -> Path:
    """Return the folder of generated modules."""
    return cache_folder("kernels")


def path_of(spec: Spec) -> Path:
    """Return the file of a kernel, written if it isn't there.

    A damaged file is written again, and where the cache can't be written to, the file is a temporary one: either
    with a warning.
    """
    content = render(spec).encode()
    name = f"{spec.kernel}_{hashlib.sha256(content).hexdigest()[:32]}.py"
    path = folder() / name
    if path.exists():
        if _holds(path, content):
            return path
        warnings.warn(f"{path} was damaged and has been generated again.", CacheWarning, stacklevel=2)
    try:
        put(path, content, folder())
    except OSError as error:
        warn_unwritable(path, error)
        path = temporary_folder() / name
        put(path, content, path.parent)
    return path


@cache
def kernel(spec: Spec) -> Any:
    """Return the kernel of a spec: a triton JITFunction, or an interpreted one under TRITON_INTERPRET=1."""
    return getattr(module(render(spec), path_of(spec), "attncc_generated"), spec.kernel)


def _holds(path: Path, content: bytes) -> bool:
    try:
        return read(path, len(content)) == content
    except (OSError, ConfigError):
        return False
