"""Scores whose tables lie on a device: results agree, and nothing of a call reads the tables on the host."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Annotated

import numpy as np
import pytest
import torch
from torch import Tensor
from unread import is_read, unread, unread_score

import attncc
from attncc.backends.triton import modules
from attncc.ir import tables
from attncc.runtime import device_tables

LENGTH, HEADS = 30, 2
IDS = np.arange(LENGTH) // 11
BUCKETS = np.minimum(np.arange(HEADS)[:, None] + np.arange(LENGTH) // 4, 5)
WEIGHTS = torch.randn(6, generator=torch.Generator().manual_seed(0)).requires_grad_()


@attncc.pattern
def alike(i, j, *, ids: attncc.Table):
    return (ids[i] == ids[j]) & (j <= i)


@attncc.score
def by_distance(score, i, j, h, *, bias: attncc.Table, slopes: attncc.Weights):
    return score + slopes[h] * bias[h, abs(i - j)]


@attncc.score
def bucketed(score, i, j, h, *, buckets: attncc.Table, weights: attncc.Weights):
    return score + weights[buckets[h, abs(i - j)]] / 2


@attncc.score
def by_document(score, i, j, *, ids: Annotated[attncc.Table, attncc.Bounds(minimum=0)]):
    return attncc.where(ids[i] == ids[j], score, score / 2 - ids[j])


@attncc.score
def by_list(score, i, j, *, near: attncc.Lists, valid: attncc.Table):
    return attncc.where((j // 8).isin(near[i // 8]) | valid[j], score, score - 1)


SCORES: dict[str, Callable[[], attncc.Score]] = {
    "bias by head and distance": lambda: by_distance(bias=BUCKETS.astype(np.int16), slopes=WEIGHTS[:HEADS]),
    "by buckets of few bits": lambda: bucketed(buckets=BUCKETS > 3, weights=WEIGHTS),
    "by document": lambda: by_document(ids=IDS),
    "by lists and booleans": lambda: by_list(near=[[0, 1], [2, -1], [3, 0], [1, 1]], valid=IDS == 1),
    "two, one after the other": lambda: by_document(ids=IDS).then(by_document(ids=1 - IDS % 2)),
}
PATTERNS = {"causal": lambda: attncc.load("causal"), "documents": lambda: unread(alike(ids=IDS))}


def results(pattern: attncc.Pattern, score: attncc.Score, backend: str) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    tensors = [torch.randn(1, HEADS, LENGTH, 16, generator=generator, requires_grad=True) for _ in range(3)]
    out, lse = attncc.attention(*tensors, pattern, score=score, backend=backend, return_lse=True)
    return [out, lse, *torch.autograd.grad((out.sin() + lse[..., None]).sum(), [*tensors, *score.tensors])]


@pytest.mark.parametrize(("backend", "pattern"), [("triton", "causal"), ("triton", "documents"), ("torch", "causal")])
@pytest.mark.parametrize("name", SCORES)
def test_tables_of_scores_are_not_read_in_a_call(name: str, backend: str, pattern: str) -> None:
    score, connected = unread_score(SCORES[name]()), PATTERNS[pattern]()
    found = results(connected, score, backend)
    assert not is_read(score)
    assert backend == "torch" or not is_read(connected)
    wanted = results(attncc.load("causal") if pattern == "causal" else alike(ids=IDS), SCORES[name](), "reference")
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_a_new_table_takes_the_kernels_of_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    results(PATTERNS["documents"](), unread_score(SCORES["by document"]()), "triton")
    monkeypatch.setattr(modules, "loaded", None)
    results(PATTERNS["documents"](), unread_score(SCORES["by document"]()), "triton")


def test_a_declared_score_leaves_a_table_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_is_left_there", lambda data: True)
    score = by_document(ids=torch.from_numpy(IDS))
    assert score.key != by_document(ids=torch.from_numpy(IDS)).key
    assert not is_read(score.then(by_document(ids=torch.from_numpy(IDS))))
    assert not is_read(score)


def test_content_is_compared_where_a_score_leaves_the_process_or_meets_another() -> None:
    known = by_document(ids=IDS)
    one, other = unread_score(known), unread_score(known)
    assert len({known.key, one.key, other.key}) == 3
    assert one.expression.outline == known.expression.outline
    assert not is_read(one)
    assert one == other == known
    assert pickle.loads(pickle.dumps(one.expression)).key == one.expression.on_host.key == known.key


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_table_that_decides_an_index_is_read_and_that_is_logged(
    pattern: str, caplog: pytest.LogCaptureFixture
) -> None:
    known, connected = bucketed(buckets=BUCKETS, weights=WEIGHTS), PATTERNS[pattern]()
    device_tables._log_reading.cache_clear()
    found = results(connected, unread_score(known), "triton")
    assert "The tables of a score are read on the host" in caplog.text
    assert not connected.tables or not is_read(connected)
    wanted = results(attncc.load("causal") if pattern == "causal" else alike(ids=IDS), known, "reference")
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
    with pytest.raises(attncc.TableError, match="runs from 2 to 7"):
        results(connected, unread_score(bucketed(buckets=BUCKETS + 2, weights=WEIGHTS)), "triton")
