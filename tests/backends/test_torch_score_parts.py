"""Score parts: pairs that a condition on positions parts have plans of their own, and give what one score gives."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import attncc
from attncc.backends.torch import TorchBackend, score_parts
from attncc.backends.torch.execute import TorchExecutable
from attncc.backends.torch.score_parts import ScoreParts

N = 160
IDS = np.random.default_rng(0).integers(0, 5, N)


@attncc.score
def self_last(score, i, j):
    return attncc.where(i == j, -5e4, score)


@attncc.score
def without_self(score, i, j):
    return attncc.where(i == j, -math.inf, score)


@attncc.score
def only_near(score, i, j):
    return attncc.where(abs(i - j) < 40, score, -math.inf)


@attncc.score
def biased_start(score, i, j, *, bias: attncc.Weights):
    return attncc.where(j < 4, score + bias[j], attncc.where(i == j, 2 * score, score))


@attncc.score
def other_ids(score, i, j, *, ids: attncc.Table):
    return attncc.where(ids[i] == ids[j], -1.0, score)


SCORES = {
    "self last": self_last(),
    "without self": without_self(),
    "only near": only_near(),
    "weights, and a choice in a branch": biased_start(
        bias=torch.randn(4, generator=torch.Generator().manual_seed(1)).requires_grad_()
    ),
    "a table": other_ids(ids=IDS),
}
PATTERNS = {
    "causal": attncc.load("causal"),
    "window": attncc.load("sliding_window", window=9),
    "first only": attncc.load("sliding_window", window=1),
    "strided": attncc.load("strided", l=16),
    "document": attncc.load("document", ids=IDS),
}


def results(score: attncc.Score, pattern: attncc.Pattern, backend: str, dtype: torch.dtype) -> list[torch.Tensor]:
    """Return out, lse, the greatest scores, and the gradients by query, key, value and weights."""
    generator = torch.Generator().manual_seed(0)
    sides = [torch.randn(2, heads, N, 8, generator=generator).to(dtype).requires_grad_() for heads in (4, 2, 2)]
    options = {"score": score, "enable_gqa": True, "return_lse": True, "return_max_scores": True, "backend": backend}
    config = {"forward.plan": "split", "backward.plan": "split"} if backend == "torch" else None
    out, lse, greatest = attncc.attention(*sides, pattern, config=config, **options)
    seen = lse > -math.inf
    total = (out * torch.randn(out.shape, generator=generator)).sum() + lse.masked_fill(~seen, 0.0).sin().sum()
    leaves = [*sides, *(weight for weight in score.weights.values() if weight.requires_grad)]
    return [out, lse, greatest, *torch.autograd.grad(total, leaves, allow_unused=True)]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_parts_give_what_one_score_gives(
    pattern: str, score: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(score_parts, "LONGER", math.inf)
    plan = attncc.plan(PATTERNS[pattern], N).preferring("split")
    assert isinstance(TorchBackend().lower(plan, SCORES[score].expression, {}), ScoreParts)
    found, wanted = (results(SCORES[score], PATTERNS[pattern], backend, dtype) for backend in ("torch", "reference"))
    for own, right in zip(found, wanted, strict=True):
        torch.testing.assert_close(own, right, rtol=1e-9 if dtype == torch.float64 else 1e-4, atol=1e-5)


def lowered(score: attncc.Score, pattern: attncc.Pattern, n: int = 2048) -> TorchExecutable | ScoreParts:
    return TorchBackend().lower(attncc.plan(pattern, n), score.expression, {})


def test_few_pairs_have_the_score_and_the_others_none() -> None:
    found = lowered(self_last(), PATTERNS["causal"])
    assert isinstance(found, ScoreParts)
    assert sorted((part.score.is_identity, part.plan.nnz) for part in found.parts) == [
        (False, 2048),
        (True, 2048 * 2047 // 2),
    ]


def test_masked_pairs_are_not_computed() -> None:
    for score, edges in ((without_self(), 2048 * 2047 // 2), (only_near(), 40 * 2048 - 40 * 39 // 2)):
        found = lowered(score, PATTERNS["causal"])
        assert isinstance(found, ScoreParts)
        [part] = found.parts
        assert (part.score.is_identity, part.plan.nnz) == (True, edges)


def test_a_score_stays_whole_where_its_parts_would_take_longer() -> None:
    assert isinstance(lowered(other_ids(ids=np.arange(2048) * 7919 % 3), PATTERNS["causal"]), TorchExecutable)
    dense = attncc.plan(PATTERNS["causal"], 2048).preferring("dense")
    assert isinstance(TorchBackend().lower(dense, self_last().expression, {}), TorchExecutable)


@attncc.pattern
def alike(i, j, *, ids: attncc.Table):
    return (j <= i) & (ids[i] == ids[j])


def test_parts_run_in_graphs_whose_patterns_are_made_of_traced_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands for a table in the graph is bound before the score is parted."""
    made, parts = [], score_parts.parts
    monkeypatch.setattr(score_parts, "LONGER", math.inf)
    monkeypatch.setattr(score_parts, "parts", lambda *given: made.append(parts(*given)) or made[-1])
    torch._dynamo.reset()

    @torch.compile(fullgraph=True, backend="aot_eager")
    def attend(x: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        return attncc.attention(x, x, x, alike(ids=ids), score=self_last())

    x, ids = torch.randn(1, 2, N, 8, dtype=torch.float64), torch.from_numpy(IDS)
    wanted = attncc.attention(x, x, x, alike(ids=IDS), score=self_last(), backend="reference")
    torch.testing.assert_close(attend(x, ids), wanted)
    assert any(isinstance(found, ScoreParts) for found in made)


@pytest.mark.parametrize("score", [self_last(), without_self()], ids=repr)
def test_parts_read_their_keys_in_pages(monkeypatch: pytest.MonkeyPatch, score: attncc.Score) -> None:
    made, parts = [], score_parts.parts
    monkeypatch.setattr(score_parts, "LONGER", math.inf)
    monkeypatch.setattr(score_parts, "parts", lambda *given: made.append(parts(*given)) or made[-1])
    q, k, v = torch.randn(3, 2, 48, 2, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    pool = [x.reshape(12, 8, 2, 8).flip(0) for x in (k, v)]
    table, lengths = torch.arange(11, -1, -1).reshape(2, 6), (41, 48)
    out = attncc.paged_attention(q[:, :9], *pool, table, torch.tensor(lengths), PATTERNS["causal"], score=score)
    assert any(isinstance(found, ScoreParts) for found in made)
    for b, n in enumerate(lengths):
        own = (x[b : b + 1].transpose(1, 2) for x in (q[:, :9], k[:, :n], v[:, :n]))
        wanted = attncc.attention(*own, PATTERNS["causal"], score=score, q_offset=n - 9, backend="reference")
        torch.testing.assert_close(out[b : b + 1].transpose(1, 2), wanted)


def test_scores_of_few_pairs_are_whole_in_the_triton_backend() -> None:
    pytest.importorskip("triton")
    from attncc.backends.triton.config import KERNELS

    x = torch.randn(3, 1, 2, 40, 16, generator=torch.Generator().manual_seed(0)).requires_grad_()
    config = {f"{kernel}.block_{axis}": 16 for kernel in KERNELS for axis in "mn"}
    results = []
    for backend in ("triton", "reference"):
        given = {"backend": backend, "config": config if backend == "triton" else None}
        out = attncc.attention(*x, PATTERNS["causal"], score=self_last(), **given)
        results.append((out, *torch.autograd.grad(out.sin().sum(), x)))
    for found, wanted in zip(*results, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
