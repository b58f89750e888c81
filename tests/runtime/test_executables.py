"""Executables: found again without planning, and not kept alive by calls."""

from __future__ import annotations

import gc
import pickle
import weakref

import pytest
import torch

import attncc
from attncc.runtime import executables
from attncc.runtime.call import AttentionCall
from attncc.runtime.executables import executable_for

CAUSAL, WINDOW = attncc.load("causal"), attncc.load("sliding_window", window=3)


def call(pattern: attncc.Pattern = CAUSAL, q_offset: int = 0) -> AttentionCall:
    return AttentionCall(pattern.handle, "", q_offset, "torch", "")


def tensors(length: int = 20, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    return [torch.randn(1, 1, length, 8, dtype=dtype) for _ in range(3)]


def test_second_calls_need_no_lookup(monkeypatch: pytest.MonkeyPatch) -> None:
    first = executable_for(*tensors(), "forward", call())
    monkeypatch.setattr(executables, "_run", None)
    assert executable_for(*tensors(), "forward", call()) is first


def test_new_lengths_settle_nothing_but_lengths(monkeypatch: pytest.MonkeyPatch) -> None:
    pattern = attncc.load("sliding_window", window=5)
    executable_for(*tensors(40), "forward", call(pattern))
    monkeypatch.setattr(executables.PreparedCall, "of", None)
    executable_for(*tensors(41), "forward", call(pattern, q_offset=3))
    with pytest.raises(TypeError):
        executable_for(*tensors(41), "backward", call(pattern))


def test_new_tables_of_a_single_query_are_not_hashed() -> None:
    query, key, value = torch.randn(1, 1, 1, 8), *torch.randn(2, 1, 1, 20, 8)
    tables = [[0] * 12 + [1] * 8, [0] * 12 + [1] * 8, [0] * 20]
    patterns = [attncc.load("document", ids=ids) for ids in tables]
    first, same, other = (attncc.attention(query, key, value, each, q_offset=19) for each in patterns)
    assert torch.equal(first, same)
    assert not torch.equal(same, other)
    assert all("digest" not in vars(each.tables[0]) for each in patterns[1:])


def test_copies_of_modules_with_tables_outlive_the_first() -> None:
    inputs = tensors(12)
    module = attncc.compile(attncc.load("document", ids=[0] * 5 + [1] * 7), 12)
    out, copied = module(*inputs), pickle.loads(pickle.dumps(module))
    del module
    gc.collect()
    assert torch.equal(copied(*inputs), out)


def test_distinct_calls_have_distinct_executables() -> None:
    found = {
        "one": executable_for(*tensors(), "forward", call()),
        "longer": executable_for(*tensors(21), "forward", call()),
        "other pattern": executable_for(*tensors(), "forward", call(WINDOW)),
        "shifted": executable_for(*tensors(), "forward", call(q_offset=5)),
    }
    assert len({id(each) for each in found.values()}) == len(found)


def test_executables_are_not_kept_alive() -> None:
    held = weakref.ref(executable_for(*tensors(33), "forward", call()))
    executables._lowered.cache_clear()
    gc.collect()
    assert held() is None
    assert executable_for(*tensors(33), "forward", call()) is not None


def test_the_number_of_calls_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executables, "MOST", 3)
    executables._executables.clear()
    for length in range(1, 12):
        executable_for(*tensors(length), "forward", call())
        assert len(executables._executables) <= 3
