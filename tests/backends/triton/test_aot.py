"""Kernels ahead of time: the facts about arguments that the compiler may rely on."""

from __future__ import annotations

import pytest

import attncc
from attncc.backends.inputs import Inputs
from attncc.backends.triton import aot
from attncc.targets import gpu


@pytest.mark.parametrize(("head_dim", "value_dim"), [(64, 20), (20, 64)])
def test_strides_are_aligned_by_the_head_size_of_their_rows(head_dim: int, value_dim: int) -> None:
    inputs = Inputs.given(1, 1, None, head_dim, value_dim, "bf16")
    lowered = aot.lower(attncc.plan(attncc.load("causal"), 256), gpu("a100"), inputs)
    sizes = {"q": head_dim, "k": head_dim, "v": value_dim, "o": value_dim}
    for variant in aot.variants(lowered, "bf16"):
        for stride in variant.spec.strides:
            tensor = stride.removeprefix("stride_").removeprefix("d")[0]
            assert (stride in variant.aligned) == (sizes[tensor] % 16 == 0), (variant.spec.kernel, stride)
