"""Properties over the whole grammar: the generated kernels agree with dense attention in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from attncc.testing.check import check_attention
from attncc.testing.oracle import Problem
from attncc.testing.score_strategies import score_cases
from attncc.testing.strategies import Case, cases

pytestmark = pytest.mark.timeout(1200)

#: The interpreter takes seconds for an example; `--examples` searches further.
MOST = 12
KERNELS = ("forward", "query_gradient", "key_gradient")
SMALL = {f"{kernel}.block_{axis}": 16 for kernel in KERNELS for axis in ("m", "n")}
SPLIT = {f"{kernel}.item_tiles": 2 for kernel in KERNELS}
CONFIGS = [{}, SMALL, {**SMALL, **SPLIT}, {**SMALL, "atomic": True}]
DTYPES = [torch.float32, torch.float32, torch.bfloat16, torch.float16]


def few(test):
    """Run as many examples as the profile says, but no more than MOST unless it searches."""
    chosen = settings()
    return test if not chosen.derandomize else settings(max_examples=min(MOST, chosen.max_examples))(test)


def group_of(case: Case, data: st.DataObject) -> int:
    """Draw how many query heads share a key head; a pattern by head has the heads that its mask has."""
    by_head = "h" in {symbol.name for symbol in case.pattern.free}
    return 1 if by_head else data.draw(st.sampled_from([1, 2]))


def problem_for(case: Case, group: int, data: st.DataObject) -> Problem:
    return Problem.drawn(
        case.q_len,
        case.kv_len,
        batch=case.batch,
        heads=case.heads * group,
        kv_heads=case.heads if data.draw(st.booleans()) else 1,
        head_dim=data.draw(st.sampled_from([1, 16, 24])),
        value_dim=data.draw(st.sampled_from([16, 17])),
        dtype=data.draw(st.sampled_from(DTYPES)),
    )


def mask_of(case: Case, group: int) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(case.mask if group == 1 else case.mask[:, :1]))


@few
@given(cases(), st.sampled_from(CONFIGS), st.data())
def test_attention_and_gradients_agree_with_the_oracle(case: Case, config, data: st.DataObject) -> None:
    group = group_of(case, data)
    problem = problem_for(case, group, data)
    check_attention(
        case.pattern, mask_of(case, group), problem, q_offset=case.q_offset, backend="triton", config=config
    )


@few
@given(cases(), st.sampled_from(CONFIGS), st.data())
def test_scores_and_gradients_agree_with_the_oracle(case: Case, config, data: st.DataObject) -> None:
    group = group_of(case, data)
    drawn = data.draw(score_cases(case, case.heads * group))
    check_attention(
        case.pattern,
        mask_of(case, group),
        problem_for(case, group, data).with_weights(drawn.weights),
        score=drawn.score,
        formula=drawn.formula,
        q_offset=case.q_offset,
        backend="triton",
        config=config,
    )
