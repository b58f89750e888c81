"""A separate program: the host's time for warm calls of the triton backend, with a driver that only records launches.

It prints, as JSON, the microseconds of the fastest forward, and of the fastest forward and backward.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from triton.runtime import driver

import attncc
from attncc.backends.triton import TritonBackend

sys.path.append(str(Path(__file__).parents[1] / "tests" / "backends" / "triton"))
from launching import Driver, launched

HEADS, LENGTH, HEAD_DIM = 2, 256, 64
CALLS = 400


def fastest(call: Callable[[], object], launches: int) -> float:
    """Return the microseconds of the fastest of many calls, which launch so many kernels each."""
    for _ in range(3):
        launched.clear()
        call()
    assert len(launched) == launches
    found = []
    for _ in range(CALLS):
        begin = time.perf_counter()
        call()
        found.append(time.perf_counter() - begin)
    return 1e6 * min(found)


def main() -> None:
    driver.set_active(Driver())
    for name in ("unavailable", "refuses"):  # as where there is a GPU
        setattr(TritonBackend, name, lambda *arguments: None)
    torch.set_num_threads(1)
    inputs = [torch.zeros(1, HEADS, LENGTH, HEAD_DIM, dtype=torch.bfloat16) for _ in range(3)]
    leaves = [x.clone().requires_grad_() for x in inputs]
    grad, causal = torch.ones_like(inputs[0]), attncc.load("causal")

    def forward() -> object:
        return attncc.attention(*inputs, causal, backend="triton")

    def both() -> object:
        return torch.autograd.grad(attncc.attention(*leaves, causal, backend="triton"), leaves, grad)

    print(json.dumps({"forward": fastest(forward, 1), "forward and backward": fastest(both, 4)}))


if __name__ == "__main__":
    main()
