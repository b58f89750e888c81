"""Reads by pair: which nodes they are, and loops with them where the compiler can't pipeline them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import attncc
from attncc.backends.inputs import Inputs
from attncc.backends.triton import BACKEND, aot, execute
from attncc.backends.triton.spec import reads_pairs, score_reads_pairs
from attncc.machine_code.compiler import compile_all
from attncc.targets import gpu

LENGTH = 1024


@attncc.pattern
def by_blocks(i, j, *, chosen: attncc.Table):
    return (j <= i) & ((j < 64) | (chosen[i // 64, j // 64] == 1))


@attncc.pattern
def by_distance(i, j, *, near: attncc.Table):
    return (j <= i) & (near[i - j] == 1)


@attncc.pattern
def by_kind(i, j, *, kinds: attncc.Table):
    return (j <= i) & (kinds[i] == kinds[j])


@attncc.score
def weaker(score, i, j, *, chosen: attncc.Table):
    return attncc.where(chosen[i // 64, j // 64] == 1, score, score / 2)


@attncc.score
def by_key(score, h, j, *, weights: attncc.Weights):
    return score + weights[h, j]


PATTERNS = {
    "blocks": by_blocks(chosen=np.eye(LENGTH // 64, dtype=np.int64)),
    "distance": by_distance(near=np.arange(LENGTH) % 3),
    "kind": by_kind(kinds=np.arange(LENGTH) % 5),
    "causal": attncc.load("causal"),
}


@pytest.mark.parametrize(("name", "wanted"), [("blocks", True), ("distance", True), ("kind", False), ("causal", False)])
def test_predicates_report_reads_by_pair(name: str, wanted: bool) -> None:
    assert reads_pairs(PATTERNS[name].predicate) == wanted


INPUTS = Inputs.given(1, 1, None, 64, None, "bf16")


def test_scores_report_reads_by_pair() -> None:
    assert not score_reads_pairs(None, packed=True)
    assert score_reads_pairs(weaker(chosen=np.eye(16, dtype=np.int64)).expression, packed=False)


def test_packed_tiles_read_weights_of_heads_by_pair() -> None:
    score = by_key(weights=torch.zeros(8, LENGTH)).expression
    assert not score_reads_pairs(score, packed=False)
    assert score_reads_pairs(score, packed=True)


def sources(name: str, target: str) -> dict[str, str]:
    """Return the generated source of a pattern's kernels."""
    plan = attncc.plan(PATTERNS[name], LENGTH, tile=BACKEND.tile, target=target)
    listed = aot.variants(aot.lower(plan, gpu(target), INPUTS), "bf16")
    return {each.source.name: each.source.path.read_text(encoding="utf-8") for each in listed}


@pytest.mark.parametrize(
    ("name", "target", "loops"), [("blocks", "mi300x", 1), ("blocks", "h100", 0), ("kind", "mi300x", 0)]
)
def test_only_partial_loops_with_reads_by_pair_have_one_stage(name: str, target: str, loops: int) -> None:
    texts = sources(name, target)
    assert {texts[kernel].count("num_stages=1") for kernel in ("forward", "query_gradient", "key_gradient")} == {loops}


def test_masks_of_tables_compile_for_amd() -> None:
    """Pipelined, these kernels don't compile: "shared-memory element type bit width must be a multiple of 8; got 1"."""
    plan = attncc.plan(PATTERNS["blocks"], LENGTH, tile=BACKEND.tile, target="mi300x")
    listed = [each.source for each in aot.variants(aot.lower(plan, gpu("mi300x"), INPUTS), "bf16")]
    for found in compile_all(listed, gpu("mi300x"), workers=1):
        assert (found.resources.stack, found.resources.spills) == (0, 0)
        assert not found.resources.excess(gpu("mi300x"))


def test_loops_of_one_stage_agree_with_the_reference(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    if device != "cpu":
        pytest.skip("a GPU has an architecture of its own")
    monkeypatch.setattr(execute, "architecture", lambda device: "gfx942")
    pattern, score = by_distance(near=np.arange(65) % 3), weaker(chosen=np.eye(2, dtype=np.int64))
    leaves = [torch.randn(1, 2, 65, 16, requires_grad=True) for _ in range(3)]

    def results(backend: str) -> list[torch.Tensor]:
        out = attncc.attention(*leaves, pattern, score=score, backend=backend)
        return [out, *torch.autograd.grad(out.square().sum(), leaves)]

    for found, wanted in zip(results("triton"), results("reference"), strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
