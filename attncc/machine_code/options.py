"""Options of triton's compiler that attncc sets for every kernel, launched or compiled ahead of time."""

from __future__ import annotations

import os

#: Settings of triton that don't change the code it makes.
_HARMLESS = {"TRITON_CACHE_DIR", "TRITON_INTERPRET", "TRITON_HOME", "TRITON_DUMP_DIR", "TRITON_PRINT_AUTOTUNING"}


def options(backend: str) -> dict[str, object]:
    """Return the options for one of triton's backends, `cuda`, `hip` or its interpreter.

    Floating-point fusion is on, whatever triton's default is. ptxas would spill a few registers so that one more block
    fits on a multiprocessor; level 0 of its register usage has it use the same number without spills.
    """
    common: dict[str, object] = {"enable_fp_fusion": True}
    return common | ({"ptx_options": "--register-usage-level=0"} if backend == "cuda" else {})


def settings() -> list[tuple[str, str]]:
    """Return the environment variables that change the code that triton makes, sorted."""
    return sorted((k, v) for k, v in os.environ.items() if k.startswith("TRITON_") and k not in _HARMLESS)
