"""Options of triton's compiler that attncc sets for every kernel, launched or compiled ahead of time."""

from __future__ import annotations


def options(backend: str) -> dict[str, object]:
    """Return the options for one of triton's backends, `cuda`, `hip` or its interpreter.

    Floating-point fusion is on, whatever triton's default is. ptxas would spill a few registers so that one more block
    fits on a multiprocessor; level 0 of its register usage has it use the same number without spills.
    """
    common: dict[str, object] = {"enable_fp_fusion": True}
    return common | ({"ptx_options": "--register-usage-level=0"} if backend == "cuda" else {})
