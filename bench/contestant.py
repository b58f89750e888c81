"""Times one group of cases on the attncc that PYTHONPATH names; started by against.py:

python bench/contestant.py GROUP

prints the seconds of each case as JSON, {case: seconds}. It asks for nothing but the public API, so that it runs on
other checkouts, too.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch

import attncc

MILLION = 1 << 20
#: Of a thread, since other work of the machine doesn't count then.
CLOCK = time.thread_time
Timed = Iterator[tuple[str, float]]


def seconds(call: Callable[[], object]) -> float:
    begin = CLOCK()
    call()
    return CLOCK() - begin


def documents(length: int) -> attncc.Pattern:
    cuts = np.sort(np.random.default_rng(0).choice(np.arange(1, length), 999, replace=False))
    return attncc.load("document", ids=np.searchsorted(cuts, np.arange(length), side="right")).causal()


def planned() -> Timed:
    """Plan each pattern once: passes, tiles and edges."""
    attncc.plan(attncc.load("prefix", length=3), 512).describe()  # imports, and sympy's own warm-up
    window = attncc.load("sliding_window", window=256)
    cases = {
        "256-window, N = 1,048,576": (window, MILLION),
        "strided l=1024, N = 1,048,576": (attncc.load("strided", l=1024), MILLION),
        "fixed l=1024 c=16, N = 1,048,576": (attncc.load("fixed", l=1024, c=16), MILLION),
        "causal, N = 1,048,576": (attncc.load("causal"), MILLION),
        "1,000 causal documents, N = 1,048,576": (documents(MILLION), MILLION),
        "256-window, N = 8,388,608": (window, 8 * MILLION),
        "256-window, N = 16,384": (window, 1 << 14),
        "strided l=1024, N = 16,384": (attncc.load("strided", l=1024), 1 << 14),
    }

    def plan(pattern: attncc.Pattern, length: int) -> None:
        made = attncc.plan(pattern, length)
        assert sum(work.tiles.visited for work in made.all_passes())
        assert made.nnz

    for name, (pattern, length) in cases.items():
        yield f"plan {name}", seconds(partial(plan, pattern, length))


def run() -> Timed:
    """Prepare and run attention."""
    torch.set_num_threads(1)
    cases: dict[str, tuple[attncc.Pattern, int, int, int]] = {
        "strided l=128, N = 32,768": (attncc.load("strided", l=128), 32768, 8, 3),
        "256-window, N = 8,192": (attncc.load("sliding_window", window=256), 8192, 8, 9),
        "256-window, N = 32,768": (attncc.load("sliding_window", window=256), 32768, 8, 5),
        "256-window, N = 1,048,576, one head": (attncc.load("sliding_window", window=256), MILLION, 1, 3),
        "1,000 causal documents, N = 32,768": (documents(32768), 32768, 8, 5),
        "causal, N = 4,096": (attncc.load("causal"), 4096, 8, 5),
    }
    attncc.compile(attncc.load("prefix", length=3), 512)(*torch.randn(3, 1, 1, 512, 64))
    for name, (pattern, length, heads, repeats) in cases.items():
        leaves = torch.randn(3, 1, heads, length, 64, generator=torch.Generator().manual_seed(0)).unbind()
        call = partial(attncc.attention, *leaves, pattern)
        yield f"prepare {name}", seconds(partial(attncc.compile, pattern, length))
        call()
        yield f"run {name}, forward", statistics.median(seconds(call) for _ in range(repeats))
        if length > 32768:
            continue
        leaves = tuple(x.requires_grad_() for x in leaves)
        both = [seconds(partial(trained, leaves, pattern)) for _ in range(max(repeats // 2, 2) + 1)]
        yield f"run {name}, forward and backward", statistics.median(both[1:])


def trained(leaves: tuple[torch.Tensor, ...], pattern: attncc.Pattern) -> None:
    out = attncc.attention(*leaves, pattern)
    torch.autograd.grad(out, leaves, torch.ones_like(out))


def warm() -> Timed:
    """Repeat calls of few rows, which take microseconds."""
    torch.set_num_threads(1)
    tiny, decoding = torch.randn(3, 1, 4, 16, 16).unbind(), torch.randn(3, 1, 8, 4000, 64).unbind()
    causal, window = attncc.load("causal"), attncc.load("sliding_window", window=256)
    strided, step = attncc.load("strided", l=128), (decoding[0][:, :, :1], *decoding[1:])
    short = tuple(x[:, :, :256] for x in decoding)
    cases: dict[str, Callable[[], object]] = {
        "run causal (1, 4, 16, 16), repeated": lambda: attncc.attention(*tiny, causal),
        "run a decoding step, 256-window, repeated": lambda: attncc.attention(*step, window, q_offset=3999),
        "run strided l=128, N = 256, repeated": lambda: attncc.attention(*short, strided),
    }
    for name, call in cases.items():
        call(), call()
        yield name, min(seconds(lambda call=call: [call() for _ in range(20)]) for _ in range(15)) / 20


GROUPS = {"planned": planned, "run": run, "warm": warm}

if __name__ == "__main__":
    print(json.dumps(dict(GROUPS[sys.argv[1]]())))
