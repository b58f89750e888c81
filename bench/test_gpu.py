"""Generated kernels on the GPU at hand, beside what else computes the same: `pytest bench -m gpu`.

Without a GPU nothing here runs. The figures are ratios within one run; there are no bars yet, only what was reached.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.nn.attention.flex_attention import create_block_mask, flex_attention
from torch.nn.functional import scaled_dot_product_attention

import attncc

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")]

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
    """Return what computes the pattern, or for dense attention more than it."""
    pattern, mask_mod = CASES[name]
    block_mask = create_block_mask(mask_mod, None, None, LENGTH, LENGTH, device="cuda", _compile=True)
    found: dict[str, Callable[..., Tensor]] = {
        "attncc": partial(attncc.attention, pattern=pattern, backend="triton"),
        "scaled_dot_product_attention, causal": partial(scaled_dot_product_attention, is_causal=True),
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
@pytest.mark.parametrize("phase", ["forward", "forward and backward"])
@pytest.mark.parametrize("name", CASES)
def test_beside_others(benchmark, name: str, phase: str, head_dim: int) -> None:
    leaves = [torch.randn(1, HEADS, LENGTH, head_dim, device="cuda", dtype=torch.bfloat16) for _ in range(3)]
    for leaf in leaves:
        leaf.requires_grad_(phase != "forward")
    calls = {who: partial(_step, run, leaves, phase) for who, run in contestants(name).items()}
    samples: dict[str, list[float]] = {who: [] for who in calls}
    for _ in range(3):
        for call in calls.values():
            call()

    def turn() -> None:
        for who, call in calls.items():
            samples[who].append(_milliseconds(call))

    benchmark.pedantic(turn, rounds=20, iterations=1)
    medians = {who: sorted(times)[len(times) // 2] for who, times in samples.items()}
    benchmark.extra_info.update({f"{who} (ms)": f"{median:.3f}" for who, median in medians.items()})
    benchmark.extra_info["device"] = torch.cuda.get_device_name()


def _step(run: Callable[..., Tensor], leaves: list[Tensor], phase: str) -> None:
    out = run(*leaves)
    if phase != "forward":
        torch.autograd.grad(out, leaves, torch.ones_like(out))


def _milliseconds(call: Callable[[], None]) -> float:
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    call()
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end)
