"""Sources of kernels to be compiled, and how their text becomes a module."""

from __future__ import annotations

import linecache
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType


@dataclass(frozen=True)
class Source:
    """A kernel to be compiled: a function of a Python module that nothing else of attncc imports."""

    text: str  # of the module; it is what runs
    path: Path  # the file that shows the text to people
    name: str  # of the function
    types: tuple[tuple[str, str], ...]  # of arguments at run time, as triton writes them ("*bf16", "i32", "fp32")
    constants: tuple[tuple[str, int | str | bool], ...]  # the other arguments
    aligned: frozenset[str]  # arguments that are divisible by 16
    num_warps: int
    num_stages: int


def module(text: str, path: Path, package: str) -> ModuleType:
    """Run the text of a module, not its file or bytecode beside it; return the module as `package.<stem>`.

    Triton reads the source of a kernel through `inspect`, which finds the lines of the text in `linecache`.
    """
    made = ModuleType(f"{package}.{path.stem}")
    made.__file__ = str(path)
    sys.modules[made.__name__] = made
    unchecked = None  # a time of change: linecache compares none with the file's
    linecache.cache[str(path)] = (len(text), unchecked, text.splitlines(keepends=True), str(path))
    exec(compile(text, path, "exec", dont_inherit=True), made.__dict__)
    return made
