"""Properties over the whole grammar: the generated kernels agree with dense attention in float64."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from attncc.testing.check import check_attention
from attncc.testing.oracle import Problem
from attncc.testing.strategies import Case, cases, mask_for_heads

#: Under the interpreter, where each example takes seconds; `--examples` searches further.
FEWER = settings(max_examples=min(60, settings.default.max_examples)) if settings.default else settings()

SMALL = {
    f"{kernel}.block_{axis}": 16 for kernel in ("forward", "query_gradient", "key_gradient") for axis in ("m", "n")
}
CONFIGS = [{}, SMALL, {**SMALL, "item_tiles": 2}, {**SMALL, "atomic": True}]


@given(
    cases(),
    st.sampled_from([torch.float32, torch.float32, torch.bfloat16, torch.float16]),
    st.sampled_from([1, 2]),
    st.sampled_from(CONFIGS),
    st.data(),
)
@FEWER
def test_attention_and_gradients(case: Case, dtype: torch.dtype, group: int, config, data: st.DataObject) -> None:
    problem = Problem.drawn(
        case.q_len,
        case.kv_len,
        batch=case.batch,
        heads=case.heads * group,
        kv_heads=case.heads if data.draw(st.booleans()) else 1,
        head_dim=data.draw(st.sampled_from([1, 16, 24])),
        value_dim=data.draw(st.sampled_from([16, 17])),
        dtype=dtype,
    )
    mask = mask_for_heads(case, case.heads * group)
    check_attention(case.pattern, mask, problem, q_offset=case.q_offset, backend="triton", config=config)
