"""Scores in the generated kernels agree with the reference: biases, caps, weights and their gradients."""

from __future__ import annotations

import math

import pytest
import torch

import attncc
from attncc.backends.triton import weight_sums
from attncc.backends.triton.config import KernelConfig
from attncc.backends.triton.defaults import ANY
from attncc.backends.triton.launch import HeadShape
from attncc.backends.triton.lower import Lowering
from attncc.backends.triton.lowered_plan import LoweredPlan
from attncc.backends.triton.model import sources
from attncc.backends.triton.modules import render
from attncc.backends.triton.scores import ScorePrinter
from attncc.backends.triton.spec import pipelines_pairs
from attncc.machine_code.compiler import compile_all
from attncc.targets import gpu

KERNELS = ("forward", "query_gradient", "key_gradient")
SMALL = {f"{kernel}.block_{axis}": 16 for kernel in KERNELS for axis in ("m", "n")}
SPLIT = {f"{kernel}.item_tiles": 2 for kernel in KERNELS}
CONFIGS = {"default": {}, "small": SMALL, "split": {**SMALL, **SPLIT}, "atomic": {**SMALL, "atomic": True}}
HEADS, LENGTH = 4, 49
STRIDED = attncc.load("strided", l=8)


@attncc.score
def rooted(score, h, i, j, *, weights: attncc.Weights):
    """NaN for every key after the query."""
    return score * attncc.sqrt(i - j + 1) * weights[h] + weights[h] * attncc.sqrt(i - j)


@attncc.score
def everything(score, h, b, i, j, n_q, n_k, *, weights: attncc.Weights, buckets: attncc.Table):
    near = attncc.where(h == 0, score * weights[j % 4], attncc.maximum(score, weights[buckets[abs(i - j)]]))
    return attncc.where((i + j) % 3 == 0, -math.inf, near + attncc.exp(-abs(i - j) / n_k) + b * 0.1 / n_q)


@attncc.score
def constant(i):
    return i * 0.5


@attncc.score
def by_place(
    score, b, h, i, j, *, all: attncc.Weights, keys: attncc.Weights, rows: attncc.Weights, gaps: attncc.Weights
):
    """Look-ups by pair (an entry for each, and shared ones), by key and by query."""
    return score * (1 + 0.1 * gaps[b, i // 8 - j // 8 + LENGTH // 8]) + all[i, j] + keys[h, j] + rows[(i + h) % 5]


@attncc.score
def by_difference(score, h, i, j, *, up: attncc.Weights, down: attncc.Weights, near: attncc.Weights):
    """Look-ups by i - j: an entry for each, from either end, and entries that differences share."""
    gap = attncc.maximum(attncc.minimum(i - j, 5), -5)
    return score * (1 + 0.1 * down[j - i + LENGTH]) + up[h, i - j + LENGTH] + near[gap + 5]


def generator_of(seed: int) -> torch.Generator:
    return torch.Generator(torch.get_default_device()).manual_seed(seed)


def made(name: str) -> attncc.Score:
    generator = generator_of(0)
    learned = torch.randn(HEADS, 8, generator=generator).requires_grad_()
    masking = torch.tensor([0.5, -math.inf, 1.0, 0.0], requires_grad=True)
    match name:
        case "alibi":
            return attncc.alibi(slopes=learned[:, 0].detach().requires_grad_())
        case "softcap":
            return attncc.softcap(cap=2.0)
        case "softcap of alibi":
            return attncc.alibi(slopes=learned[:, 0].detach().requires_grad_()).then(attncc.softcap(cap=2.0))
        case "rooted":
            return rooted(weights=learned[:, 1].detach().requires_grad_())
        case "everything":
            return everything(weights=learned[0, :4].detach().requires_grad_(), buckets=torch.arange(LENGTH) % 4)
        case "t5":
            return attncc.t5_bias(weights=learned, max_distance=16)
        case "by place":
            sizes = {
                "all": (LENGTH, LENGTH),
                "keys": (HEADS, LENGTH),
                "rows": (5,),
                "gaps": (2, 2 * (LENGTH // 8) + 1),
            }
            return by_place(**{n: torch.randn(x, generator=generator).requires_grad_() for n, x in sizes.items()})
        case "by difference":
            sizes = {"up": (HEADS, 2 * LENGTH), "down": (2 * LENGTH,), "near": (11,)}
            return by_difference(**{n: torch.randn(x, generator=generator).requires_grad_() for n, x in sizes.items()})
        case "numbers":
            return numbers(**{n: torch.tensor(x, requires_grad=True) for n, x in (("gain", 0.7), ("shift", 0.3))})
        case "-inf weights":
            return masked_by(weights=masking)
    return constant()


@attncc.score
def numbers(score, h, *, gain: attncc.Weights, shift: attncc.Weights):
    """Weights without dimensions."""
    return abs(score * gain) + attncc.exp(shift) * score * h


@attncc.score
def masked_by(j, *, weights: attncc.Weights):
    return weights[j % 4]


NAMES = (
    "alibi",
    "softcap",
    "softcap of alibi",
    "rooted",
    "everything",
    "-inf weights",
    "constant",
    "t5",
    "by place",
    "by difference",
    "numbers",
)


def results(score: attncc.Score, backend: str, config, pattern=STRIDED) -> list[torch.Tensor]:
    generator = generator_of(1)
    shapes = [(2, HEADS, LENGTH, 16), (2, HEADS // 2, LENGTH, 16), (2, HEADS // 2, LENGTH, 16)]
    leaves = [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]
    out, lse = attncc.attention(
        *leaves, pattern, score=score, enable_gqa=True, return_lse=True, backend=backend, config=config
    )
    loss = out.square().sum() + lse[lse.detach() > -math.inf].sin().sum()
    return [out.detach(), lse.detach(), *torch.autograd.grad(loss, [*leaves, *score.tensors])]


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("name", NAMES)
def test_scores_and_all_gradients_agree_with_the_reference(name: str, config: str) -> None:
    score = made(name)
    for found, wanted in zip(results(score, "triton", CONFIGS[config]), results(score, "reference", None), strict=True):
        torch.testing.assert_close(found, wanted, atol=2e-4, rtol=2e-4)


@pytest.mark.parametrize("name", ["alibi", "t5", "by place"])
def test_weight_gradients_agree_where_heads_have_their_own_patterns(name: str) -> None:
    pattern = attncc.per_head([attncc.load("causal"), STRIDED, STRIDED, attncc.load("causal")])
    score = made(name)
    wanted = results(score, "reference", None, pattern)
    for found, expected in zip(results(score, "triton", CONFIGS["split"], pattern), wanted, strict=True):
        torch.testing.assert_close(found, expected, atol=2e-4, rtol=2e-4)


@pytest.mark.parametrize(("block_m", "block_n"), [(64, 16), (16, 64)])
def test_diagonal_sums_agree_in_tiles_that_are_not_square(block_m: int, block_n: int) -> None:
    """Diagonals are summed as columns of rotated rows, which wrap around several times, or not at all."""
    config = {"query_gradient.block_m": block_m, "query_gradient.block_n": block_n}
    score, pattern = made("by difference"), attncc.load("full")
    wanted = results(score, "reference", None, pattern)
    for found, expected in zip(results(score, "triton", config, pattern), wanted, strict=True):
        torch.testing.assert_close(found, expected, atol=2e-4, rtol=2e-4)


def test_only_tables_by_difference_are_summed_by_diagonals() -> None:
    """i // 8 - j // 8 is not a difference of positions, and diagonals of a gathered layout mix differences."""
    for name, diagonals in (("by place", False), ("t5", True), ("by difference", True)):
        lowering = Lowering(
            HeadShape(64, 64, 2, 1), KernelConfig.default(ANY, 64, 2), 132, made(name).expression, weighted=True
        )
        lowered = LoweredPlan(attncc.plan(STRIDED, LENGTH), lowering, 1, HEADS, HEADS, torch.device("cpu"))
        specs = [launch.spec for launch in lowered.query_gradient.launches if launch.spec.role != "join"]
        assert {("tl.gather" in render(spec), spec.in_order) for spec in specs} <= {(diagonals, True), (False, False)}
        assert any(spec.in_order for spec in specs)


@pytest.mark.parametrize("name", ["t5", "by place", "by difference"])
def test_sums_agree_in_bounded_memory(name: str, monkeypatch: pytest.MonkeyPatch, poisoned: None) -> None:
    """Sums by pair have bounded memory: programs wait for each other, in a fixed order."""
    monkeypatch.setattr(weight_sums, "ROOM", 4 * 100)
    score = made(name)
    wanted = results(score, "reference", None)
    for found, expected in zip(results(score, "triton", SMALL), wanted, strict=True):
        torch.testing.assert_close(found, expected, atol=2e-4, rtol=2e-4)


def test_kernels_use_atomics_only_where_chosen() -> None:
    for name in NAMES:
        score = made(name).expression
        for atomic in (False, True):
            config = KernelConfig.default(ANY, 64, 2).changed({"atomic": atomic})
            lowering = Lowering(HeadShape(64, 64, 2, 1), config, 132, score, weighted=True)
            lowered = LoweredPlan(attncc.plan(STRIDED, LENGTH), lowering, 1, HEADS, HEADS, torch.device("cpu"))
            texts = [render(launch.spec) for launch in lowered.launches("backward")]
            assert any("atomic" in text for text in texts) == atomic


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (-1e30, "-1e+30"),
        (-1e20, "-1e+20"),
        (2.0**63, "9.223372036854776e+18"),
        (torch.finfo(torch.float32).min, "-3.4028234663852886e+38"),
        (-1e39, 'float("-inf")'),
        (1e-40, "tl.cast(1e-40, tl.float32)"),
        (3, "3"),
    ],
)
def test_numbers_in_a_score_are_printed_as_float32(number: float, text: str) -> None:
    @attncc.score
    def shifted(score, j):
        return attncc.where(j < 3, score, number)

    assert f", {text})" in ScorePrinter(()).real(shifted().expression.expr)


def test_integers_computed_from_positions_are_printed_as_integers() -> None:
    @attncc.score
    def far(score, j):
        return score + (j * 2**40 + 2**50) / 2**60

    assert f"{2**40}*j + {2**50}" in ScorePrinter(()).real(far().expression.expr)


@attncc.score
def with_every_node(score, i, j, h, *, weights: attncc.Weights, table: attncc.Table):
    turned = attncc.sin(score) - attncc.cos(weights[(i ^ j) & 7]) - 1e30
    chosen = attncc.where((score > 0.5) & ~(weights[i & 7] < score) | (j < i), score * attncc.erf(score), turned)
    masked = attncc.where((table[0] > 0) & (score <= -math.inf), -1e20, chosen)
    return masked + (i // (1 + j)) / 100 + (1 << (h & 3)) * 1e-3 + (i >> (j & 3)) / 1e4 + 1e-40 + table[1]


@pytest.mark.parametrize("target", ["a100", "mi300x"])
def test_every_node_compiles(target: str) -> None:
    found = gpu(target)
    score = with_every_node(weights=torch.zeros(8), table=[1, 0]).expression
    blocks = {f"{kernel}.block_{axis}": 32 for kernel in ("forward", "query_gradient", "key_gradient") for axis in "mn"}
    config = KernelConfig.default(found.arch, 64, 2).changed(blocks)
    lowering = Lowering(HeadShape(64, 64, 2, 1), config, found.multiprocessors, score, weighted=True, unpipelined=True)
    lowered = LoweredPlan(attncc.plan(STRIDED, 128), lowering, 1, HEADS, HEADS, torch.device("cpu"))
    assert compile_all(sources(lowered, "bf16", "forward"), found, workers=1)


@pytest.mark.parametrize(("name", "target"), [("t5", "a100"), ("by difference", "h100"), ("by place", "mi300x")])
def test_weight_gradients_compile(name: str, target: str) -> None:
    found = gpu(target)
    lowering = Lowering(
        HeadShape(64, 64, 2, 1),
        KernelConfig.default(found.arch, 64, 2),
        found.multiprocessors,
        made(name).expression,
        weighted=True,
        unpipelined=not pipelines_pairs(found.arch),
    )
    lowered = LoweredPlan(attncc.plan(STRIDED, 1024), lowering, 1, HEADS, HEADS, torch.device("cpu"))
    for compiled in compile_all(sources(lowered, "bf16", "backward"), found, workers=1):
        assert not compiled.resources.excess(found)


def test_keys_beyond_the_axis_add_nothing_to_query_gradients() -> None:
    """exp(0 - lse) overflows for keys that don't exist, where all scores are very negative."""
    key = torch.full((1, 1, 20, 16), 10.0)
    leaves = [x.requires_grad_() for x in (-key.clone(), key, torch.randn(1, 1, 20, 16))]
    out = attncc.attention(*leaves, attncc.load("full"), scale=1.0, backend="triton", config=CONFIGS["atomic"])
    assert all(x.isfinite().all() for x in torch.autograd.grad(out.sum(), leaves))
