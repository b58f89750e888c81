"""The time that a repeated call takes besides its arithmetic: on tiny tensors, and for a step of decoding."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path

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


@pytest.mark.skipif(not find_spec("triton"), reason="triton isn't installed")
def test_a_warm_triton_call_takes_the_host_microseconds(benchmark, bar) -> None:
    environment = {name: text for name, text in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, str(Path(__file__).with_name("triton_host.py"))]
    run = partial(subprocess.run, command, env=environment, check=True, capture_output=True, text=True)
    found = json.loads(benchmark.pedantic(run, rounds=1).stdout)
    for name, most in (("forward", 80), ("forward and backward", 200)):
        what = f"triton, causal {name} of (1, 2, 256, 64), repeated, host's time without the driver's"
        bar(what, found[name], f"at most {most} us", "fastest of 400")
