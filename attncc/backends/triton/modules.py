"""Generated modules: one Triton module for each Spec, with its origin in the header.

The kernel cache holds each as a file, under the hash of its source, for people and tools to read. The text that was
generated is what runs, never the content of a file.
"""

from __future__ import annotations

import hashlib
import math
import warnings
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from attncc._util.storage import CacheWarning, cache_folder, put, read, temporary_folder, warn_unwritable
from attncc.backends.triton.spec import Spec
from attncc.errors import ConfigError
from attncc.machine_code.source import module

#: Stands where a block of lines came out empty, until its line is dropped.
_NOTHING = "\0"


@lru_cache(1024)
def render(spec: Spec) -> str:
    """Return the source of a module with one kernel, named `spec.kernel`."""
    body = _environment().get_template(f"{spec.kernel}.jinja").render(spec=spec)
    page = _environment().get_template("module.jinja").render(spec=spec, purpose=spec.signature.purpose, body=body)
    return page.replace(f"{_NOTHING}\n", "")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("attncc.backends.triton"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
        optimized=False,  # there are no constants to fold, and looking for them takes a tenth of the time
    )
    environment.globals.update(log_2_e=math.log2(math.e), ln_2=math.log(2))
    environment.filters["block"] = lambda text: text.rstrip("\n") or _NOTHING
    return environment


def folder() -> Path:
    """Return the folder of generated modules."""
    return cache_folder("kernels")


def path_of(spec: Spec) -> Path:
    """Return the file of a kernel, written if it isn't there.

    A damaged file is written again. Where the cache can't be written to, the file is a temporary one. Both warn.
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


def kernel(spec: Spec) -> Any:
    """Return the kernel of a spec: a triton JITFunction, or an interpreted one under TRITON_INTERPRET=1.

    Specs of one source have one kernel, whatever tables they name.
    """
    source = render(spec)
    if source not in _kernels:
        _kernels[source] = loaded(spec)
    return _kernels[source]


def loaded(spec: Spec) -> Any:
    """Return the kernel of a spec out of a module that is made anew."""
    return getattr(module(render(spec), path_of(spec), "attncc_generated"), spec.kernel)


#: Kernels by their source.
_kernels: dict[str, Any] = {}


def _holds(path: Path, content: bytes) -> bool:
    try:
        return read(path, len(content)) == content
    except (OSError, ConfigError):
        return False
