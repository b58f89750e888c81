"""What a kernel is compiled from, and how its text becomes a module."""

from __future__ import annotations

import linecache
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType


@dataclass(frozen=True)
class Source:
    """A kernel to be compiled: the function `name` of a Python module that nothing else of attncc imports.

    text: of the module. path: the file that shows it to people; what runs is the text. types: of the function's
    arguments at run time, as triton writes them ("*bf16", "i32", "fp32"); constants: of the others. aligned: arguments
    that are divisible by 16.
    """

    text: str
    path: Path
    name: str
    types: tuple[tuple[str, str], ...]
    constants: tuple[tuple[str, int | str | bool], ...]
    aligned: frozenset[str]
    num_warps: int
    num_stages: int


def module(text: str, path: Path, package: str) -> ModuleType:
    """Run the text of a module, whatever its file and the bytecode beside it hold; return it as `package.<stem>`.

    Triton reads the source of a kernel through `inspect`, which finds the lines of the text in `linecache`.
    """
    made = ModuleType(f"{package}.{path.stem}")
    made.__file__ = str(path)
    sys.modules[made.__name__] = made
    unchecked = None  # a time of change: linecache compares none with the file's
    linecache.cache[str(path)] = (len(text), unchecked, text.splitlines(keepends=True), str(path))
    exec(compile(text, path, "exec", dont_inherit=True), made.__dict__)
    return made
