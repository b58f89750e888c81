"""Machine code for GPUs that aren't there: generated loops beside the yardstick's, and the model beside published figures."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from compiled import predicted


@dataclass(frozen=True)
class Published:
    """A figure for Triton's fused attention (its tutorial 06), fp16, forward, and where it was published."""

    target: str
    head_dim: int
    length: int
    causal: bool
    tflops: float
    source: str


PUBLISHED = [
    Published("a100", 64, 16384, False, 166.6, "triton-lang.org, tutorial 06, B=4 H=32"),
    Published("a100", 64, 16384, True, 164.3, "triton-lang.org, tutorial 06, B=4 H=32"),
    # 46.75 ms for 4 x 32 heads; the issue doesn't name its GPU, the figures of FlashAttention-2 beside it are an A100's.
    Published("a100", 128, 16384, True, 188.1, "triton-lang/triton issue 1934, B=4 H=32"),
    Published("h100", 64, 16384, False, 403.0, "FlashAttention-3, figure 5, B=1 H=32"),
    Published("h100", 128, 16384, False, 476.8, "pytorch/benchmark pull request 2391, B=1 H=16"),
    Published("h100", 128, 16384, False, 487.0, "facebookexperimental/triton pull request 206, B=4 H=32"),
    Published("b200", 128, 16384, False, 746.3, "meta-pytorch/tritonbench pull request 1014, B=4 H=48"),
]


@pytest.mark.parametrize("figure", PUBLISHED, ids=lambda f: f"{f.target}-{f.head_dim}-{f.causal}-{f.tflops}")
def test_predicted_against_published(bar, figure: Published) -> None:
    model = predicted(figure.target, figure.head_dim, figure.length, causal=figure.causal) / 1e12
    kind = "causal" if figure.causal else "dense"
    what = f"model of {kind} attention, {figure.target}, D={figure.head_dim}, N={figure.length:,}, over {figure.source}"
    off = 100 * abs(model / figure.tflops - 1)
    bar(what, off, "at most 25 %", f"{model:.0f} for {figure.tflops:.0f} TFLOP/s")
