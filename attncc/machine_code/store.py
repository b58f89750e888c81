"""The cache of compiled kernels: one archive each, under the hash of everything that its code depends on.

Triton's own cache is keyed by triton's whole installation, which takes it most of a second to hash in each process.
"""

from __future__ import annotations

import hashlib
import io
import json
import warnings
import zipfile
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from attncc.errors import ConfigError
from attncc.machine_code.compiled import Compiled
from attncc.machine_code.options import options, settings
from attncc.machine_code.source import Source
from attncc.storage import CacheWarning, cache_folder, opened, put, warn_unwritable
from attncc.targets import Gpu

_HEADER = "kernel.json"
#: Of the archives: it counts up when they hold something else.
_VERSION = 2


def path_of(source: Source, gpu: Gpu) -> Path:
    """Return the archive of a kernel, whether it is there or not."""
    described = asdict(source) | {
        "version": _VERSION,
        "path": source.path.read_text(encoding="utf-8"),
        "aligned": sorted(source.aligned),
        "target": [gpu.backend, gpu.arch, gpu.warp_size],
        "triton": version("triton"),
        "options": options(gpu.backend),
        "settings": settings(),
    }
    key = hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()
    return cache_folder("compiled") / f"{source.name}_{gpu.arch}_{key[:32]}.zip"


def load(path: Path) -> Compiled | None:
    """Return a kernel that was compiled before; a damaged archive is a miss, with a warning."""
    if not path.exists():
        return None
    try:
        with opened(path) as file, zipfile.ZipFile(file) as archive:
            header = json.loads(archive.read(_HEADER))
            stages = {
                name: archive.read(name) if binary else archive.read(name).decode()
                for name, binary in header.pop("stages").items()
            }
        return Compiled(stages=stages, **header)
    except (OSError, EOFError, ConfigError, KeyError, TypeError, ValueError, zipfile.BadZipFile):
        warnings.warn(f"{path} was damaged; its kernel is compiled again.", CacheWarning, stacklevel=2)
        return None


def save(path: Path, compiled: Compiled) -> None:
    """Write a kernel's archive; where the cache can't be written to, a warning says so."""
    fields = ("name", "backend", "shared", "warps", "scratch")
    binary = {name: isinstance(content, bytes) for name, content in compiled.stages.items()}
    header = {field: getattr(compiled, field) for field in fields} | {"stages": binary}
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(_HEADER, json.dumps(header))
        for name, stage in compiled.stages.items():
            archive.writestr(name, stage)
    try:
        put(path, content.getvalue(), path.parent)
    except OSError as error:
        warn_unwritable(path, error)
