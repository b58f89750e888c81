"""Generated kernels on the local GPU, timed beside other libraries: `pytest bench -m gpu`.

The tests need a GPU. The contestants take turns; with --record the medians go to a table in bench/README.md.
PyTorch's scaled_dot_product_attention and, but for windows, flash-attn compute all causal pairs.
"""

from __future__ import annotations

import importlib.util
import statistics
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.nn.attention.flex_attention import create_block_mask, flex_attention
from torch.nn.functional import scaled_dot_product_attention

import attncc

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")]

CONTESTANTS = ("attncc", "scaled_dot_product_attention", "FlexAttention", "flash-attn")
LENGTH, HEADS = 32768, 16
WINDOW, STRIDE = 256, 128


def causal_mod(b, h, i, j):
    return j <= i


def window_mod(b, h, i, j):
    return (j <= i) & (i - j < WINDOW)


def strided_mod(b, h, i, j):
    return (j <= i) & ((i - j <= STRIDE) | ((i - j) % STRIDE == 0))


CASES = {
    "causal": (attncc.load("causal"), causal_mod),
    "256-window": (attncc.load("sliding_window", window=WINDOW), window_mod),
    "strided l=128": (attncc.load("strided", l=STRIDE), strided_mod),
}


def contestants(name: str) -> dict[str, Callable[..., Tensor]]:
    """Return what computes the pattern, or more than it, by names in CONTESTANTS."""
    pattern, mask_mod = CASES[name]
    block_mask = torch.compile(create_block_mask)(mask_mod, None, None, LENGTH, LENGTH, device="cuda")
    found: dict[str, Callable[..., Tensor]] = {
        "attncc": partial(attncc.attention, pattern=pattern, backend="triton"),
        "scaled_dot_product_attention": partial(scaled_dot_product_attention, is_causal=True),
        "FlexAttention": partial(torch.compile(flex_attention), block_mask=block_mask),
    }
    if importlib.util.find_spec("flash_attn"):
        from flash_attn import flash_attn_func

        window = (WINDOW - 1, 0) if name == "256-window" else (-1, -1)
        found["flash-attn"] = lambda q, k, v: flash_attn_func(
            *(x.transpose(1, 2) for x in (q, k, v)), causal=True, window_size=window
        ).transpose(1, 2)
    return found


@pytest.mark.parametrize("head_dim", [64, 128])
@pytest.mark.parametrize("name", CASES)
def test_kernels_are_timed_beside_other_libraries(
    benchmark, figure: Callable[[str, list[str]], None], name: str, head_dim: int
) -> None:
    leaves = [torch.randn(1, HEADS, LENGTH, head_dim, device="cuda", dtype=torch.bfloat16) for _ in range(3)]
    gradient = torch.randn_like(leaves[0])
    calls = {who: partial(_step, run, leaves, gradient) for who, run in contestants(name).items()}
    samples: dict[str, list[tuple[float, float]]] = {who: [] for who in calls}
    for _ in range(3):
        for call in calls.values():
            call()

    def turn() -> None:
        for who, call in calls.items():
            samples[who].append(call())

    benchmark.pedantic(turn, rounds=20, iterations=1)
    for phase, direction in enumerate(("forward", "backward")):
        medians = {who: statistics.median(times[phase] for times in taken) for who, taken in samples.items()}
        columns = [f"{medians[who]:.3f} ms" if who in medians else "" for who in CONTESTANTS]
        best = min(median for who, median in medians.items() if who != CONTESTANTS[0])
        device = torch.cuda.get_device_name().removeprefix("NVIDIA ")
        figure(f"{device}: {name}, D={head_dim}, {direction}", [*columns, f"{best / medians[CONTESTANTS[0]]:.2f} x"])


def _step(run: Callable[..., Tensor], leaves: list[Tensor], gradient: Tensor) -> tuple[float, float]:
    """Run forward and backward; return the milliseconds of each on the GPU."""
    inputs = [x.detach().requires_grad_() for x in leaves]
    begin, middle, end = (torch.cuda.Event(enable_timing=True) for _ in range(3))
    begin.record()
    out = run(*inputs)
    middle.record()
    torch.autograd.grad(out, inputs, gradient)
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(middle), middle.elapsed_time(end)
