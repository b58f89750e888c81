"""Plan a pattern in a fresh process, after a warm import; print seconds and peak bytes as JSON."""

from __future__ import annotations

import gc
import json
import sys
import time

import numpy as np
import torch

import attncc
from attncc.measure.memory import peak
from attncc_bigbird.blocks import itc


def patterns(name: str, length: int) -> attncc.Pattern:
    """Return the pattern that a bar names."""
    if name == "document":
        generator = np.random.default_rng(0)
        cuts = np.sort(generator.choice(np.arange(1, length), 999, replace=False))
        return attncc.load("document", ids=np.searchsorted(cuts, np.arange(length), side="right")).causal()
    if name == "bigbird":
        return attncc.load("bigbird", **itc(length))
    parameters = {"window": {"window": 256}, "strided": {"l": 1024}, "fixed": {"l": 1024, "c": 16}, "causal": {}}[name]
    return attncc.load({"window": "sliding_window"}.get(name, name), **parameters)


def main(name: str, length: int) -> None:
    attncc.plan(attncc.load("prefix", length=3), 512).describe()  # imports, and sympy's own warm-up
    chosen = patterns(name, length)
    gc.collect()  # what the imports left takes 100 ms, and would be collected in some runs and not in others
    result: dict[str, float] = {}

    def run() -> None:
        begin = time.perf_counter()
        made = attncc.plan(chosen, length)
        result["plan_s"] = time.perf_counter() - begin
        begin = time.perf_counter()
        result["visited"] = sum(work.tiles.visited for work in made.all_passes())
        result["tiles_s"] = time.perf_counter() - begin
        begin = time.perf_counter()
        result["edges"] = made.nnz
        result["edges_s"] = time.perf_counter() - begin

    result["peak_bytes"] = peak(run, torch.device("cpu"))
    result["all_s"] = result["plan_s"] + result["tiles_s"] + result["edges_s"]
    print(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
