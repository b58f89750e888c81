"""The time that a repeated call takes besides its arithmetic: on tiny tensors, and for a step of decoding."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

import attncc
from attncc.measure.timing import elapsed, take_turns

CPU = torch.device("cpu")
CAUSAL, WINDOW = attncc.load("causal"), attncc.load("sliding_window", window=256)
dense = partial(scaled_dot_product_attention, is_causal=True)
#: Few calls a sample, since a time slice of another process is longer than all of them, and many samples.
CALLS, ROUNDS = 4, 300


@pytest.fixture(params=[1, torch.get_num_threads()], ids=["one thread", "default threads"])
def threads(request: pytest.FixtureRequest) -> Iterator[str]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.node.callspec.id
    torch.set_num_threads(before)


def tensors(heads: int, dim: int, *lengths: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(1, heads, length, dim, generator=generator) for length in lengths]


def judge(benchmark, bar, what: str, rule: str, ours: Callable[[], object], theirs: Callable[[], object]) -> None:
    """Hold our fastest sample against a bar in microseconds; the other one's stands beside it."""

    def sample(call: Callable[[], object]) -> dict[str, float]:
        return {"call": elapsed(lambda: [call() for _ in range(CALLS)], CPU) / CALLS * 1e6}

    run = partial(take_turns, {"ours": partial(sample, ours), "theirs": partial(sample, theirs)}, ROUNDS)
    found = benchmark.pedantic(run, rounds=1)
    taken, other = (min(found[name]["call"].samples) for name in ("ours", "theirs"))
    bar(what, taken, rule, f"fastest of {ROUNDS}; PyTorch {other:.3g} us")


def test_a_tiny_forward_takes_microseconds(benchmark, bar, threads: str) -> None:
    inputs = tensors(4, 16, 16, 16, 16)
    ours, theirs = partial(attncc.attention, *inputs, CAUSAL), partial(dense, *inputs)
    what = f"causal forward of (1, 4, 16, 16), repeated, {threads}"
    judge(benchmark, bar, what, "at most 45 us", ours, theirs)


def test_a_tiny_training_step_takes_microseconds(benchmark, bar, threads: str) -> None:
    leaves = [x.requires_grad_() for x in tensors(4, 16, 16, 16, 16)]
    grad = torch.ones_like(leaves[0])

    def step(run: Callable[..., Tensor]) -> object:
        return torch.autograd.grad(run(*leaves), leaves, grad)

    ours, theirs = partial(step, partial(attncc.attention, pattern=CAUSAL)), partial(step, dense)
    judge(benchmark, bar, f"the same, forward and backward, {threads}", "at most 350 us", ours, theirs)


def test_a_step_of_decoding_takes_little_more_than_its_keys(benchmark, bar, threads: str) -> None:
    query, key, value = tensors(8, 64, 1, 4000, 4000)
    ours = partial(attncc.attention, query, key, value, WINDOW, q_offset=3999)
    theirs = partial(scaled_dot_product_attention, query, key[:, :, -256:], value[:, :, -256:])
    torch.testing.assert_close(ours(), theirs())
    what = f"step of decoding, 256-window over 4,000 keys, H=8 D=64, repeated, {threads}"
    judge(benchmark, bar, what, "at most 120 us", ours, theirs)
