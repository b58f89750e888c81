"""NVIDIA's tools for compiled code, from the triton wheel."""

from __future__ import annotations

import subprocess
import tempfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from attncc.errors import BackendError


@cache
def path(name: str) -> Path:
    """Return the path of `cuobjdump`, `ptxas` or another tool in triton's wheel; raises BackendError without it."""
    package = find_spec("triton")
    folders = list(package.submodule_search_locations or []) if package else []
    for folder in folders:
        tool = Path(folder) / "backends" / "nvidia" / "bin" / name
        if tool.is_file():
            return tool
    raise BackendError(
        f"{name} was not found{f' in {folders[0]}/backends/nvidia/bin' if folders else ': triton is not installed'}.",
        rule="Compiled kernels are made and read with the tools that the triton wheel brings.",
        fix="Install triton 3.6 or later from its wheel.",
    )


@cache
def release(name: str) -> str:
    """Return the release of one of the tools, such as "13.1, V13.1.80", or "not installed"."""
    try:
        command = [str(path(name)), "--version"]
    except BackendError:
        return "not installed"
    output = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return output.rpartition("release ")[2].partition("\n")[0].strip() or "unknown"


def cuobjdump(cubin: bytes, *options: str) -> str:
    """Return the output of cuobjdump for a cubin; raises BackendError with its message if it fails."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [str(path("cuobjdump")), *options, file.name]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise BackendError(
            f"cuobjdump failed: {result.stderr.strip() or f'exit status {result.returncode}'}.",
            rule="It reads cubins of the architectures that its triton knows.",
            fix="Choose a target from `attncc targets`, or install a newer triton.",
        )
    return result.stdout
