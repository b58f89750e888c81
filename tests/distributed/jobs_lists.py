"""Jobs with lists of keys that change from step to step: only rows that are named travel."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from cases import N, compiled
from jobs_replanned import compare_step

import attncc
from attncc.distributed.schedules import traffic


@attncc.pattern
def named(i, j, *, keys: attncc.Lists):
    """Keys that each query names."""
    return j.isin(keys[i])


@attncc.pattern
def named_blocks(i, j, *, blocks: attncc.Lists):
    """Causal blocks of 4, and the queries' own neighbours."""
    return ((j // 4).isin(blocks[i // 4]) & (j <= i)) | ((i - j >= 0) & (i - j < 3))


def lists(kind: str, seed: int) -> attncc.Pattern:
    rng = np.random.default_rng(seed)
    if kind == "keys":
        return named(keys=rng.integers(-1, N, (N, 2)))
    return named_blocks(blocks=rng.integers(-1, N // 4, (N // 4 + 1, 2)))


def sent_and_whole(op: Any) -> tuple[int, int]:
    """Return the bytes that travel between parts in a forward, and those if whole units did."""
    classes = tuple(replace(each, chosen=None) for each in op.schedule.head_classes)
    schedules = op.schedule, replace(op.schedule, head_classes=classes)
    sent, whole = (sum(flow.total for flow in traffic.forward(each, op.inputs)) for each in schedules)
    return sent, whole


def lists_that_change(kind: str, settings: dict[str, Any]) -> list[tuple[int, int]]:
    """Compare steps with one process, with bytes; return those of each forward, and of one that sends whole units."""
    options = {"heads": 4, "kv_heads": 2, "head_dim": 8, "dtype": "fp32", "enable_gqa": True, "return_lse": True}
    op = compiled(lists(kind, 0), **options, settings=attncc.distributed.Settings(unit=16, **settings))
    found = []
    for seed in range(3):
        each = op if seed == 0 else op.replanned(lists(kind, seed))
        compare_step(each, seed)
        found.append(sent_and_whole(each))
    return found
