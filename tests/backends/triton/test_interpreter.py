"""Triton's interpreter computes bfloat16 wrongly; kernel tests fail if it does."""

from __future__ import annotations

import pytest
import torch

triton = pytest.importorskip("triton")
tl = pytest.importorskip("triton.language")

pytestmark = pytest.mark.skipif(not triton.knobs.runtime.interpret, reason="there is a GPU")


@triton.jit
def doubled(x, out, IN_BFLOAT16: tl.constexpr):
    entry = tl.load(x)
    if not IN_BFLOAT16:
        entry = entry.to(tl.float32)
    tl.store(out, (entry + entry).to(tl.bfloat16))


def test_arithmetic_in_bfloat16_fails_a_test_of_the_kernels() -> None:
    one, out = torch.ones(1, dtype=torch.bfloat16), torch.zeros(1, dtype=torch.bfloat16)
    doubled[(1,)](one, out, IN_BFLOAT16=False)
    assert out.item() == 2.0
    with pytest.raises(Exception, match="computes in bfloat16"):
        doubled[(1,)](one, out, IN_BFLOAT16=True)
