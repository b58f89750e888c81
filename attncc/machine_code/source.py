"""What a kernel is compiled from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Source:
    """A kernel to be compiled: the function `name` of the Python file `path`, which nothing else of attncc imports.

    types: of its arguments at run time, as triton writes them ("*bf16", "i32", "fp32"); constants: of the others.
    aligned: arguments that are divisible by 16.
    """

    path: Path
    name: str
    types: tuple[tuple[str, str], ...]
    constants: tuple[tuple[str, int | str | bool], ...]
    aligned: frozenset[str]
    num_warps: int
    num_stages: int
