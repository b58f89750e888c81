"""Grouped launches: the sequences of a batch in one grid, with the bits of a launch for each of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np
import pytest
import torch

import attncc
from attncc.backends.inputs import Inputs
from attncc.backends.triton import BACKEND, aot, demand, lowered_plan
from attncc.backends.triton.config import KERNELS, KernelConfig
from attncc.backends.triton.launch import Launch
from attncc.backends.triton.lowered_plan import LoweredPlan
from attncc.frontend.pages import Pages
from attncc.machine_code.compiler import compile_all
from attncc.targets import gpu, target

pytestmark = pytest.mark.timeout(600)

LENGTHS = [75, 19, 75, 0, 67]
HEADS, KV_HEADS, DIM = 4, 2, 16
CAUSAL = attncc.load("causal")
STRIDED = attncc.load("strided", l=8).union()
BLOCKS = attncc.load("block_diagonal", block=24)
BY_HEAD = attncc.per_head([CAUSAL, attncc.load("sliding_window", window=20), CAUSAL, attncc.load("full")])
#: Small tiles and short items, so that tiles are split.
SHORT = {f"{name}.block_n": 16 for name in KERNELS} | {f"{name}.item_tiles": 2 for name in KERNELS}
SHORT |= {"key_gradient.block_m": 16}


def apart(groups: Sequence[Sequence[Launch]]) -> list[Launch]:
    """Leave launches as they are."""
    return [*chain.from_iterable(groups)]


def results(pattern: attncc.Pattern, q_len: int, **given) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    sizes = (HEADS, q_len), (KV_HEADS, 80), (KV_HEADS, 80)
    inputs = [torch.randn(len(LENGTHS), h, n, DIM, generator=generator).requires_grad_() for h, n in sizes]
    options = {"enable_gqa": True, "return_lse": True, "backend": "triton", **given}
    offsets = [n - q_len for n in LENGTHS]
    out, lse = attncc.attention(*inputs, pattern, q_offset=offsets, kv_len=LENGTHS, **options)
    grads = torch.autograd.grad(out.square().sum() + lse[lse > -torch.inf].sum(), inputs)
    return [out, lse, *grads]


@pytest.mark.parametrize(
    ("pattern", "q_len", "score", "config"),
    [
        (CAUSAL, 1, None, {}),
        (CAUSAL, 1, None, SHORT),
        (CAUSAL, 5, attncc.alibi(slopes=torch.tensor([0.1, 0.2, 0.3, 0.4])), SHORT),
        (STRIDED, 3, None, SHORT),
        (BLOCKS, 20, None, {}),
        (BY_HEAD, 2, None, SHORT),
    ],
    ids=["causal", "split", "biased", "strided", "blocks", "heads"],
)
def test_one_grid_has_the_bits_of_many(
    monkeypatch: pytest.MonkeyPatch, pattern: attncc.Pattern, q_len: int, score: attncc.Score | None, config: dict
) -> None:
    counts = []
    made = LoweredPlan._phase

    def counted(self: LoweredPlan, *args, **options):
        phase = made(self, *args, **options)
        counts.append(len(phase.launches))
        return phase

    monkeypatch.setattr(LoweredPlan, "_phase", counted)
    found = results(pattern, q_len, config=config, score=score)
    together, counts = sum(counts), []
    monkeypatch.setattr(lowered_plan, "grouped", apart)
    attncc.runtime.executables._lowered.cache_clear()
    attncc.runtime.executables._executables.clear()
    wanted = results(pattern, q_len, config=config, score=score)
    assert all(map(torch.equal, found, wanted))
    assert together < sum(counts)


def decoding(pattern: attncc.Pattern, lengths: list[int], name: str, *, paged: bool = False) -> LoweredPlan:
    """Return the launches of a step of decoding on a GPU that isn't here."""
    placed = attncc.Sequences([n - 1 for n in lengths], lengths).pattern(pattern)
    if paged:
        table = np.arange(len(lengths) * 256).reshape(len(lengths), 256)
        placed = Pages(table, np.array(lengths), 32).on(placed)
    plan = attncc.plan(placed, 1, 8192, batch=len(lengths), heads=8, target=name)
    inputs = Inputs.given(len(lengths), 8, 2, 64, 64, "bf16")
    return BACKEND.lower_kernels(plan, None, {}, inputs, target(name), False).lowered


@pytest.mark.parametrize("paged", [False, True])
def test_a_step_of_a_batch_is_one_launch_of_parts_and_one_that_joins_them(paged: bool) -> None:
    lengths = [8000, 5000, 3000, 5000, 7777, 2600, 4000, 1200]
    parts, join = decoding(CAUSAL, lengths, "h100", paged=paged).forward.launches
    assert (parts.spec.role, join.spec.role) == ("split", "join")
    assert len(np.unique(join.arrays["split_tiles"][:, 1])) == join.programs == 2 * len(lengths)
    assert sorted(parts.arrays["part_numbers"]) == list(range(parts.programs))
    first, last = join.arrays["split_tiles"][:, 1:].T
    assert (last - first).sum() == parts.programs


@pytest.mark.parametrize("name", ["a100", "h100", "mi300x"])
def test_grouped_kernels_compile(name: str) -> None:
    lengths = [8000, 5000, 3000, 100, 90]
    launches = [
        launch
        for pattern, paged in ((CAUSAL, False), (CAUSAL, True), (STRIDED, False))
        for launch in decoding(pattern, lengths, name, paged=paged).forward.launches
        if launch.spec.grouped
    ]
    assert {launch.spec.role for launch in launches} == {"whole", "split", "join"}
    config = KernelConfig.default(gpu(name).arch, 64, 2)
    every = {aot.Variant.of(launch, "bf16", config).source for launch in launches}
    for compiled in compile_all(every, gpu(name), workers=1):
        assert not compiled.resources.excess(gpu(name))


def test_grouped_programs_read_tiles_of_their_own() -> None:
    lengths = [5000, 4000, 3000]
    launch = decoding(STRIDED, lengths, "h100").forward.launches[0]
    assert launch.spec.grouped
    _, runs = launch.arrays["items"], launch.arrays["runs"]
    assert demand.distinct_read(launch) == 2 * (runs[:, 1] - runs[:, 0]).sum() * demand.read(launch)
