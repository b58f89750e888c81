"""The model of absent GPUs: the time it takes, and its agreement with the roofline."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest

import attncc
from attncc.backends.inputs import Inputs
from attncc.backends.triton import BACKEND, aot, model
from attncc.machine_code.compiled import Compiled
from attncc.targets import gpu
from attncc.tune.modelled import Compilers

GPU = gpu("h100")
KERNELS = {"forward": ("forward",), "backward": ("query_gradient", "key_gradient")}
#: block_m, block_n, num_warps, num_stages.
TRIED = tuple(itertools.product((32, 64, 128), (32, 64), (4, 8), (2, 3)))
#: The bar of five minutes is for two cores.
WORKERS = 2


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("direction", KERNELS)
def test_cold_candidates_are_modelled_within_minutes(bar, tmp_path, monkeypatch, direction: str) -> None:
    """24 candidates of strided l=128, N = 16,384, 8 heads of 64, bf16, with nothing in the kernel caches."""
    monkeypatch.setenv("ATTNCC_CACHE_DIR", str(tmp_path / "attncc"))
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "triton"))
    plan = attncc.plan(attncc.load("strided", l=128), 16384, tile=BACKEND.tile, target="h100")
    begin = time.perf_counter()
    names = ("block_m", "block_n", "num_warps", "num_stages")
    programs = []
    for tried in TRIED:
        config = {f"{kernel}.{name}": v for kernel in KERNELS[direction] for name, v in zip(names, tried, strict=True)}
        programs.append(aot.lower(plan, GPU, Inputs.given(1, 8, None, 64, None, "bf16"), config=config))
    rooflines = [model.roofline(program, direction, GPU, "bf16") for program in programs]
    ranked = time.perf_counter() - begin
    sources = [model.sources(program, "bf16", direction) for program in programs]
    with Compilers(GPU, WORKERS, 120.0) as compilers:
        found = compilers.compile(source for listed in sources for source in listed)
    kernels = {source: kernel for source, kernel in found.items() if isinstance(kernel, Compiled)}
    modelled = [
        (roofline, model.modelled(program, direction, GPU, "bf16", kernels).seconds)
        for roofline, program, listed in zip(rooflines, programs, sources, strict=True)
        if kernels.keys() >= set(listed)
    ]
    seconds = time.perf_counter() - begin
    what = f"model {len(TRIED)} candidates of strided l=128, {GPU.arch}, {direction}, {WORKERS} workers, cold"
    rate = f"{len(found)} kernels, {60 * len(found) / seconds:.0f} a minute"
    bar(what, seconds, "at most 300 s", f"{rate}; roofline of all {ranked:.2f} s")
    correlation = _spearman(*np.array(modelled).T)
    bar(f"the same: rank correlation of roofline and model, {direction}", correlation, "at least 0.7 rho")


def _spearman(*figures: np.ndarray) -> float:
    ranks = [np.argsort(np.argsort(each, kind="stable"), kind="stable") for each in figures]
    return float(np.corrcoef(*ranks)[0, 1])
