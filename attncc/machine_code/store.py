"""The cache of compiled kernels: one archive each, under the hash of everything that its code depends on.

Triton's own cache is keyed by triton's whole installation, which takes it most of a second to hash in each process.

An archive has three parts: the SHA-256 of the rest, a line of JSON with the kernel's facts and the length of each
stage, and the stages, deflated. Nothing is parsed before the hash fits, and nothing is inflated beyond the lengths in
its line.
"""

from __future__ import annotations

import hashlib
import json
import warnings
import zlib
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from attncc._util.storage import CacheWarning, cache_folder, exposure, put, read, warn_unwritable
from attncc.errors import ConfigError
from attncc.machine_code.compiled import Compiled
from attncc.machine_code.options import options, settings
from attncc.machine_code.source import Source
from attncc.targets import Gpu

#: Of the archives: it counts up when they hold something else.
_VERSION = 3
#: Bytes of an archive that are read; a large kernel has some hundred thousand.
LARGEST = 1 << 26
_FACTS = ("name", "backend", "shared", "warps", "scratch")
_DIGEST = hashlib.sha256().digest_size


def path_of(source: Source, gpu: Gpu) -> Path:
    """Return the archive of a kernel, which need not exist."""
    described = asdict(source) | {
        "version": _VERSION,
        "path": "",  # code is the same wherever its source is kept
        "aligned": sorted(source.aligned),
        "target": [gpu.backend, gpu.arch, gpu.warp_size],
        "triton": version("triton"),
        "options": options(gpu.backend),
        "settings": settings(),
    }
    key = hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()
    return cache_folder("compiled") / f"{source.name}_{gpu.arch}_{key[:32]}.kernel"


def load(path: Path) -> Compiled | None:
    """Return a kernel that was compiled before; an archive that is damaged or foreign is a miss with a warning."""
    try:
        return _unpacked(_read(path), path.stem)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ConfigError) as error:
        problem = getattr(error, "problem", None) or f"{path} can't be read: {error}."
    warnings.warn(f"{problem} Its kernel is compiled again.", CacheWarning, stacklevel=2)
    return None


def save(path: Path, compiled: Compiled) -> None:
    """Write a kernel's archive; where the cache can't be written to, a warning says so."""
    try:
        put(path, _packed(compiled, path.stem), path.parent)
    except OSError as error:
        warn_unwritable(path, error)


def _packed(compiled: Compiled, key: str) -> bytes:
    """Return the archive of a kernel; the key in it tells it from another kernel's under its name."""
    stages = {name: stage if isinstance(stage, bytes) else stage.encode() for name, stage in compiled.stages.items()}
    described = [[name, len(stage), isinstance(compiled.stages[name], str)] for name, stage in stages.items()]
    header = {fact: getattr(compiled, fact) for fact in _FACTS} | {"key": key, "stages": described}
    content = json.dumps(header).encode() + b"\n" + zlib.compress(b"".join(stages.values()))
    return hashlib.sha256(content).digest() + content


def _read(path: Path) -> bytes:
    """Return the content of an archive whose hash fits; raises ConfigError or OSError."""
    if said := exposure(path):
        raise ConfigError(f"{path} is not used: {said}.", fix="The kernel is compiled instead.")
    archive = read(path, LARGEST)
    digest, content = archive[:_DIGEST], archive[_DIGEST:]
    if hashlib.sha256(content).digest() != digest:
        raise ConfigError(f"{path} was damaged.", fix="The kernel is compiled again.")
    return content


def _unpacked(content: bytes, key: str) -> Compiled:
    """Return the kernel in the content of an archive; raises ConfigError for one of another key."""
    line, _, deflated = content.partition(b"\n")
    header = json.loads(line)
    if header["key"] != key:
        raise ConfigError(f"{key} holds {header['key']}.", fix="The kernel is compiled again.")
    stages: dict[str, str | bytes] = {}
    length = sum(length for _, length, _ in header["stages"])
    inflated = zlib.decompressobj().decompress(deflated, length)
    for name, length, is_text in header["stages"]:
        stage, inflated = inflated[:length], inflated[length:]
        stages[name] = stage.decode() if is_text else stage
    return Compiled(stages=stages, **{fact: header[fact] for fact in _FACTS})
