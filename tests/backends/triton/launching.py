"""A separate program: launches for an absent H100, counted and compared with Triton's choice."""

from __future__ import annotations

import itertools
import sys
from typing import Any

import torch
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction

import attncc
from attncc.backends.base import Saved
from attncc.backends.triton.execute import TritonExecutable
from attncc.frontend.scores import PLAIN

HEADS, LENGTH, HEAD_DIM = 2, 256, 64
#: Kernels launched, each with its number of programs; and how often Triton was asked which kernel it should be.
launched: list[tuple[int, int]] = []
asked: list[object] = []


class Utils:
    """What loads machine code: gives each module a number."""

    _functions = itertools.count(1)

    def get_device_properties(self, device: int) -> dict[str, int]:
        return {"max_shared_mem": 232448, "warpSize": 32, "multiprocessor_count": 132}

    def load_binary(self, name: str, code: bytes, shared: int, device: int) -> tuple[int, int, int, int, int]:
        return 1, next(self._functions), 64, 0, 1024


class Launcher:
    """What puts a kernel on a stream: writes down that it did."""

    def __init__(self, source: object, metadata: object) -> None:
        pass

    def __call__(self, x: int, y: int, z: int, stream: int, function: int, *rest: Any) -> None:
        launched.append((function, x))


class Driver:
    """The parts of an H100's driver that launching needs."""

    utils, launcher_cls = Utils(), Launcher

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", 90, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0


def laid_out() -> dict[str, list[torch.Tensor]]:
    """Return queries, keys and values in several ways of lying in memory, for each of which Triton has other code."""
    size = HEADS * LENGTH * HEAD_DIM
    shape = (1, HEADS, LENGTH, HEAD_DIM)
    rows = [torch.zeros(shape, dtype=torch.bfloat16) for _ in range(3)]
    return {
        "in rows": rows,
        "off by one": [torch.zeros(size + 1, dtype=torch.bfloat16)[1:].view(shape) for _ in range(3)],
        "odd rows": [torch.zeros(*shape[:3], HEAD_DIM + 1, dtype=torch.bfloat16)[..., :HEAD_DIM] for _ in range(3)],
        "heads inside": [x.transpose(1, 2).contiguous().transpose(1, 2) for x in rows],
    }


def call(
    executable: TritonExecutable, tensors: list[torch.Tensor], weights: list[torch.Tensor]
) -> list[tuple[int, int]]:
    """Run forward and backward; return what was launched."""
    launched.clear()
    asked.clear()
    out, lse = executable.forward(*tensors, weights, 0.125)
    executable.backward(Saved(*tensors, weights, out, lse), torch.zeros_like(out), None, 0.125, True)
    return launched[:]


def check(name: str, score: attncc.Score) -> None:
    """Launch every layout from memory, and as Triton would: the same kernels."""
    executable = TritonExecutable(attncc.plan(attncc.load(name), LENGTH), score.expression, {})
    weights = list(score.tensors)
    kinds = laid_out()
    first = {kind: call(executable, tensors, weights) for kind, tensors in kinds.items()}
    for kind, tensors in kinds.items():
        call(executable, tensors, weights)
        again = call(executable, tensors, weights)
        remembered = not asked
        for bindings in executable._bound.values():
            bindings._bound.clear()
        executable._sites.clear()
        by_triton = call(executable, tensors, weights)
        assert len(asked) == len(by_triton)
        assert again == first[kind] == by_triton, (name, kind, again, first[kind], by_triton)
        assert remembered == (kind != "off by one"), (name, kind)
    assert len({function for calls in first.values() for function, _ in calls}) > len(set(first["in rows"]))


def main() -> None:
    driver.set_active(Driver())
    run = JITFunction.run

    def counted(function: JITFunction[Any], *args: Any, **kwargs: Any) -> object:
        asked.append(function)
        return run(function, *args, **kwargs)

    JITFunction.run = counted
    check(sys.argv[1], attncc.t5_bias(weights=torch.zeros(HEADS, 32)) if "t5" in sys.argv else PLAIN)


if __name__ == "__main__":
    main()
