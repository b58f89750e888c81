"""Properties over the whole grammar: plans and attention agree with a mask computed by numpy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend

import attncc
from attncc.backends.reference.mask import dense_mask
from attncc.planner.directions import DIRECTIONS
from attncc.planner.options import WAYS
from attncc.testing.check import check_attention, check_plan
from attncc.testing.oracle import Problem
from attncc.testing.rebinding import rebound
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


#: Examples that each trace a graph.
TRACED = 12


@st.composite
def bindings(draw: st.DrawFn, *, lengths: bool = True) -> list[Case]:
    """Draw a case, and the same template with other tables, and with lengths of at most its own."""
    case = draw(cases())
    assume(case.pattern.tables)

    def length(own: int) -> int:
        return draw(st.sampled_from([own, own, max(1, own - 1), max(1, own // 2)])) if lengths else own

    seeds = draw(st.lists(st.integers(0, 99), min_size=1, max_size=3))
    return [case, *(rebound(case, seed, length(case.q_len), length(case.kv_len)) for seed in seeds)]


def drawn(case: Case, dtype: torch.dtype = torch.float64) -> Problem:
    heads = {"heads": case.heads, "kv_heads": case.heads}
    return Problem.drawn(case.q_len, case.kv_len, batch=case.batch, head_dim=8, dtype=dtype, **heads)


def expected(case: Case, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores = (q @ k.mT * q.shape[-1] ** -0.5).masked_fill(~torch.from_numpy(case.mask.copy()), -torch.inf)
    return torch.softmax(scores, -1).nan_to_num(0.0) @ v


@given(bindings(), st.sampled_from([(16, 16), (64, 64)]))
def test_plans_of_each_binding_cover_its_own_mask(bound: Sequence[Case], tile: tuple[int, int]) -> None:
    for case in bound:
        assert case.pattern.template is bound[0].pattern.template
        sizes = {"q_offset": case.q_offset, "heads": case.heads, "batch": case.batch}
        check_plan(attncc.plan(case.pattern, case.q_len, case.kv_len, tile=tile, **sizes), as_planned(case))


@given(bindings(), st.sampled_from(["torch", "reference"]))
def test_attention_and_gradients_of_each_binding_agree_with_the_oracle(bound: Sequence[Case], backend: str) -> None:
    for case in bound:
        mask = torch.from_numpy(np.ascontiguousarray(case.mask))
        check_attention(case.pattern, mask, drawn(case), q_offset=case.q_offset, backend=backend)


@given(bindings())
def test_the_operator_takes_tables_beside_the_template(bound: Sequence[Case]) -> None:
    """As a graph calls it: the template is a constant, tables and lengths are not."""
    for case in bound:
        problem = drawn(case)
        tables = [torch.from_numpy(table.entries) for table in case.pattern.tables]
        tensors, handle = (problem.query, problem.key, problem.value), bound[0].pattern.template.handle
        operands = handle, "", case.q_offset, "", ""
        out, *_ = torch.ops.attncc.general_attention(*tensors, [], tables, 8**-0.5, *operands)
        torch.testing.assert_close(out, expected(case, *tensors))


@settings(max_examples=TRACED)
@given(bindings(lengths=False))
def test_one_graph_serves_every_binding_of_the_same_sizes(bound: Sequence[Case]) -> None:
    """Shuffled lists may have fewer entries in a row."""
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")
    offset = bound[0].q_offset

    @torch.compile(fullgraph=True, backend=counter)
    def call(q: Tensor, k: Tensor, v: Tensor, pattern: attncc.Pattern) -> Tensor:
        return attncc.attention(q, k, v, pattern, q_offset=offset)

    for case in bound:
        tensors = [x.requires_grad_() for x in (drawn(case).query, drawn(case).key, drawn(case).value)]
        found, wanted = call(*tensors, case.pattern), expected(case, *tensors)
        torch.testing.assert_close(found, wanted)
        gradients = (torch.autograd.grad(x.sin().sum(), tensors) for x in (found, wanted))
        for one, other in zip(*gradients, strict=True):
            torch.testing.assert_close(one, other.nan_to_num(0.0))
    sizes = {tuple(table.data.shape for table in case.pattern.tables) for case in bound}
    assert counter.frame_count <= len(sizes)
