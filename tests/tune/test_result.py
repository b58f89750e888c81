"""Remarks of a result."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from attncc.tune.result import TaskResult


def result(mode: str, **seconds: float) -> TaskResult:
    task: Any = SimpleNamespace(direction="forward")
    entry: Any = SimpleNamespace(mode=mode, seconds=seconds)
    return TaskResult(task, entry, "tuned", 0, notes=["a note"])


@pytest.mark.parametrize(("mode", "how"), [("measured", "it took"), ("modelled", "it should take")])
def test_remarks_report_where_dense_attention_is_as_fast(mode: str, how: str) -> None:
    note, said = result(mode, best=1.0, dense=0.6).remarks
    assert note == "a note"
    assert said.startswith("forward: dense attention is as fast")
    assert f"{how} 0.60 x" in said


def test_remarks_omit_slower_or_missing_dense_attention() -> None:
    assert result("measured", best=1.0, dense=2.0).remarks == ["a note"]
    assert result("measured", best=1.0).remarks == ["a note"]
