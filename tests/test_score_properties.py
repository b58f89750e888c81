"""Properties over the grammar of scores: attention and all gradients agree with a formula computed by torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attncc.testing.check import check_attention
from attncc.testing.oracle import Problem
from attncc.testing.score_strategies import score_cases
from attncc.testing.strategies import Case, cases

pytestmark = pytest.mark.timeout(1200)

DTYPES = [torch.float32, torch.float64, torch.float64, torch.bfloat16, torch.float16]
SMALL = {"segment": 2, "core": 32, "query_tile": 16, "chunk": 4096}
CONFIGS = [None, {f"{side}.{name}": size for side in ("forward", "backward") for name, size in SMALL.items()}]


def check(case: Case, backend: str, config, data: st.DataObject) -> None:
    by_head = "h" in {symbol.name for symbol in case.pattern.free}
    group = 1 if by_head else data.draw(st.sampled_from([1, 2]))
    drawn = data.draw(score_cases(case, case.heads * group))
    problem = Problem.drawn(
        case.q_len,
        case.kv_len,
        batch=case.batch,
        heads=case.heads * group,
        kv_heads=case.heads if data.draw(st.booleans()) else 1,
        head_dim=data.draw(st.sampled_from([1, 8, 24])),
        value_dim=data.draw(st.sampled_from([8, 17])),
        dtype=data.draw(st.sampled_from(DTYPES)),
    ).with_weights(drawn.weights)
    mask = torch.from_numpy(np.ascontiguousarray(case.mask if group == 1 else case.mask[:, :1]))
    check_attention(
        case.pattern,
        mask,
        problem,
        score=drawn.score,
        formula=drawn.formula,
        q_offset=case.q_offset,
        backend=backend,
        config=config,
    )


WAYS = [("torch", 1 << 22), ("torch", 1 << 22), ("torch", 700), ("reference", 0)]


@given(cases(), st.sampled_from(WAYS), st.data())
def test_scores_and_all_gradients_agree_with_torch(case: Case, way: tuple[str, int], data: st.DataObject) -> None:
    backend, block = way
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("attncc.backends.torch.kernels.MAX_SCORES", block)
        check(case, backend, data.draw(st.sampled_from(CONFIGS)) if backend == "torch" else None, data)
