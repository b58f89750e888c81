"""Properties over the whole grammar: plans and attention agree with a mask computed by numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import attncc
from attncc.backends.reference.mask import dense_mask
from attncc.planner.directions import DIRECTIONS
from attncc.planner.options import WAYS
from attncc.testing.check import check_attention, check_plan
from attncc.testing.oracle import Problem
from attncc.testing.strategies import Case, cases

pytestmark = pytest.mark.timeout(1200)


def as_planned(case: Case) -> np.ndarray:
    """Return the mask with batch and head dimensions only where the pattern depends on them."""
    free = {symbol.name for symbol in case.pattern.free}
    mask = case.mask if "b" in free else case.mask[:1]
    mask = mask if "h" in free else mask[:, :1]
    kept = [n for n, name in ((mask.shape[0], "b"), (mask.shape[1], "h")) if name in free]
    return mask.reshape(*kept, case.q_len, case.kv_len)


@given(cases(), st.sampled_from([(16, 16), (64, 64), (128, 32)]))
def test_plans_cover_exactly_the_mask(case: Case, tile: tuple[int, int]) -> None:
    made = attncc.plan(
        case.pattern,
        case.q_len,
        case.kv_len,
        q_offset=case.q_offset,
        heads=case.heads,
        batch=case.batch,
        tile=tile,
    )
    check_plan(made, as_planned(case))


@given(cases())
def test_dense_masks_agree_with_numpy(case: Case) -> None:
    found = dense_mask(
        case.pattern, case.q_len, case.kv_len, q_offset=case.q_offset, heads=case.heads, batch=case.batch
    )
    np.testing.assert_array_equal(found.numpy(), as_planned(case))


DTYPES = [torch.float32, torch.float32, torch.float64, torch.bfloat16, torch.float16]
SMALL = {"segment": 2, "core": 32, "query_tile": 16, "chunk": 4096}
CONFIGS = [{}, {f"{side}.{name}": size for side in ("forward", "backward") for name, size in SMALL.items()}]


@given(cases(), st.sampled_from(DTYPES), st.sampled_from([1, 2]), st.sampled_from(CONFIGS), st.data())
def test_attention_and_gradients_agree_with_the_oracle(
    case: Case, dtype: torch.dtype, group: int, config, data: st.DataObject
) -> None:
    problem = Problem.drawn(
        case.q_len,
        case.kv_len,
        batch=case.batch,
        heads=case.heads * group,
        kv_heads=case.heads if data.draw(st.booleans()) else 1,
        head_dim=data.draw(st.sampled_from([1, 8, 24])),
        value_dim=data.draw(st.sampled_from([8, 17])),
        dtype=dtype,
    )
    mask = _for_heads(case, case.heads * group)
    plans = {f"{direction}.plan": data.draw(st.sampled_from(WAYS)) for direction in DIRECTIONS}
    check_attention(case.pattern, mask, problem, q_offset=case.q_offset, config=config | plans)


def _for_heads(case: Case, heads: int) -> torch.Tensor:
    """Return the mask for `heads` heads: those beyond the drawn ones are evaluated by the reference."""
    if "h" not in {symbol.name for symbol in case.pattern.free} or heads == case.heads:
        return torch.from_numpy(np.ascontiguousarray(case.mask if heads == case.heads else case.mask[:, :1]))
    found = dense_mask(case.pattern, case.q_len, case.kv_len, q_offset=case.q_offset, heads=heads, batch=case.batch)
    return found if found.ndim == 4 else found.unsqueeze(0)
