"""What runs a call: found again without planning, and not kept alive by having been called."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch

import attncc
from attncc.runtime import executables
from attncc.runtime.executables import Call, executable_for

CAUSAL, WINDOW = attncc.load("causal"), attncc.load("sliding_window", window=3)


def call(pattern: attncc.Pattern = CAUSAL, q_offset: int = 0) -> Call:
    return Call(pattern.handle, "", q_offset, "torch", "")


def tensors(length: int = 20, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    return [torch.randn(1, 1, length, 8, dtype=dtype) for _ in range(3)]


def test_a_second_call_looks_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    first = executable_for(*tensors(), "forward", call())
    monkeypatch.setattr(executables, "_running", None)
    assert executable_for(*tensors(), "forward", call()) is first


def test_calls_that_differ_are_not_taken_for_each_other() -> None:
    found = {
        "one": executable_for(*tensors(), "forward", call()),
        "longer": executable_for(*tensors(21), "forward", call()),
        "other pattern": executable_for(*tensors(), "forward", call(WINDOW)),
        "shifted": executable_for(*tensors(), "forward", call(q_offset=5)),
    }
    assert len({id(each) for each in found.values()}) == len(found)


def test_an_executable_that_is_forgotten_elsewhere_is_freed() -> None:
    held = weakref.ref(executable_for(*tensors(33), "forward", call()))
    executables._lowered.cache_clear()
    gc.collect()
    assert held() is None
    assert executable_for(*tensors(33), "forward", call()) is not None


def test_many_calls_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executables, "MOST", 3)
    executables._known.clear()
    for length in range(1, 12):
        executable_for(*tensors(length), "forward", call())
        assert len(executables._known) <= 3
