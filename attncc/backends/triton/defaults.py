"""Default blocks by architecture, element size and head size: defaults.toml, and which of its tables a GPU takes."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

#: Serves GPUs that no table is near to, and the interpreter.
ANY = "any"
#: The largest head size of any architecture.
MAX_HEAD_DIM = 576
BITS = (16, 32)


def blocks(arch: str, head_dim: int, itemsize: int) -> Mapping[str, list[int]]:
    """Return [block_m, block_n, num_warps, num_stages] by kernel, for a head size up to `largest`.

    `arch` is an architecture as drivers name it ("sm_90", "gfx942:sramecc+"), or "any"; `itemsize` is in bytes.
    """
    sizes = _by_size(arch, itemsize)
    return sizes[next(size for size in sorted(sizes) if head_dim <= size)]


def largest(arch: str, itemsize: int) -> int:
    """Return the largest head size that an architecture has blocks for: those of larger ones would not fit."""
    return max(_by_size(arch, itemsize))


def architectures() -> tuple[str, ...]:
    """Return the architectures that have a table of their own."""
    return tuple(name for name in _file() if name not in (ANY, "like"))


def table_of(arch: str) -> str:
    """Return whose table an architecture takes: its own, the one it is like, the nearest older one's, or "any"."""
    name = arch.partition(":")[0]
    name = str(_file()["like"].get(name, name))
    if name in (*architectures(), ANY):
        return name
    line, place = _place(name)
    older = [known for known in architectures() if _place(known)[0] == line and _place(known)[1] < place]
    return max(older, key=_place, default=ANY)


@cache
def _by_size(arch: str, itemsize: int) -> Mapping[int, Mapping[str, list[int]]]:
    """Return blocks by the head size that they serve up to."""
    bits = next(each for each in BITS if 8 * itemsize <= each)
    return {int(size): found for size, found in _file()[table_of(arch)][f"{bits}-bit"].items()}


def _place(arch: str) -> tuple[str, int]:
    """Return the line that an architecture belongs to, and its place in it, or ("", 0).

    NVIDIA's are one line; of AMD's, each major version is, since they differ in matrix units and in size of a wave.
    """
    if found := re.fullmatch(r"sm_(\d+)[af]?", arch):
        return "sm", int(found[1])
    if found := re.fullmatch(r"gfx(\d+)([0-9a-f]{2})", arch):
        return f"gfx{found[1]}", int(found[2], 16)
    return "", 0


@cache
def _file() -> Mapping[str, Any]:
    text = resources.files(__package__).joinpath("defaults.toml").read_text("utf-8")
    return tomllib.loads(text)
