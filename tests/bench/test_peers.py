"""The comparison with other libraries: contestants of a task agree, limits are said, finished cells are kept."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peers import __main__ as command
from peers import cell, page
from peers.contestants import CONTESTANTS, HEADS, Contestant, contestant

LENGTH = 1024


@pytest.mark.parametrize("name", ["SDPA with a mask", "FlexAttention, eager", "local-attention"])
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_windows_agree(name: str) -> None:
    if name == "local-attention":
        pytest.importorskip("local_attention")
    other, own = contestant("window", name), contestant("window", "attncc")
    leaves = [leaf.detach()[:, :, :512] for leaf in own.leaves(512)]
    if name == "local-attention":  # it sees one key more
        leaves = [leaf[:, :, :256] for leaf in leaves]
    length = leaves[0].shape[2]
    torch.testing.assert_close(other.prepare(length)(*leaves), own.prepare(length)(*leaves), rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_longformers_agree() -> None:
    pytest.importorskip("transformers")
    leaves = [leaf.detach() for leaf in contestant("Longformer", "attncc").leaves(LENGTH)]
    joined = [leaf.transpose(1, 2).flatten(2) for leaf in leaves]
    theirs = contestant("Longformer", "Transformers").prepare(LENGTH)(*joined)
    ours = contestant("Longformer", "attncc").prepare(LENGTH)(*leaves)
    assert ours.shape[1] == HEADS
    torch.testing.assert_close(ours.transpose(1, 2).flatten(2), theirs, rtol=1e-3, atol=1e-4)


def test_a_contestant_has_all_figures() -> None:
    found = cell.measured(contestant("window", "attncc"), LENGTH, seconds=0.1)
    assert list(found) == ["prepare_s", "forward_s", "forward_backward_s", "peak_bytes"]
    assert all(value >= 0 for value in found.values())


def test_longer_sequences_are_not_tried_after_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    tried: list[tuple[str, int]] = []

    def measure(each: Contestant, length: int, seconds: float, gigabytes: float) -> dict[str, object]:
        tried.append((each.name, length))
        if each.name == "SDPA with a mask":
            return {"skipped": "out of memory"}
        return {"prepare_s": 0.1, "forward_s": 0.5, "forward_backward_s": 2.0, "peak_bytes": 10**6}

    monkeypatch.setattr(command, "measure", measure)
    options = ["--lengths", "1024", "2048", "--tasks", "window", "--docs", str(tmp_path)]
    command.main([*options, "--results", str(tmp_path / "cells.json")])
    assert ("SDPA with a mask", 2048) not in tried
    assert ("attncc", 2048) in tried
    count = len(tried)
    monkeypatch.setattr(page, "draw", lambda cells, path: None)
    command.main([*options, "--results", str(tmp_path / "cells.json")])
    assert len(tried) == count, "finished cells are kept"
    text = (tmp_path / "peers.md").read_text("utf-8")
    assert "| SDPA with a mask | 2,048 | as at 1,024 |" in text
    assert "| dense SDPA (causal, all keys before) | 1,024 | 500 ms | 2 s | 1 MB | 100 ms | 1 x | 1 x |" in text
    assert (tmp_path / "peers.png").stat().st_size > 10_000


def test_every_task_begins_with_attncc() -> None:
    for task in page.TASKS:
        assert next(each for each in CONTESTANTS if each.task == task).name == "attncc"
