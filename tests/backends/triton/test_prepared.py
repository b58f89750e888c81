"""Patterns whose tables aren't read on the host: attention and gradients agree with the oracle in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from table_patterns import PATTERNS
from unread import is_read, unread

import attncc
from attncc.backends.reference.mask import as_broadcast
from attncc.frontend.patterns import Pattern
from attncc.testing.check import check_attention
from attncc.testing.oracle import Problem
from attncc.testing.score_strategies import score_cases
from attncc.testing.strategies import Case, cases

KERNELS = ("forward", "query_gradient", "key_gradient")
#: The interpreter takes a second for an example; `--examples` searches further.
MOST = 3
SMALL = {f"{kernel}.block_{axis}": 16 for kernel in KERNELS for axis in ("m", "n")}


pytestmark = pytest.mark.timeout(1200)


def few(test):
    """Run as many examples as the profile says, but no more than MOST unless it searches."""
    chosen = settings()
    return test if not chosen.derandomize else settings(max_examples=min(MOST, chosen.max_examples))(test)


def check(pattern: Pattern, q_len: int, kv_len: int, q_offset: int = 0, config=SMALL, **sizes: int) -> Pattern:
    """Check the pattern with its tables unread, and return that one."""
    sizes = {"batch": 2, "heads": 2, "kv_heads": 2, **sizes}
    mask = attncc.dense_mask(pattern, q_len, kv_len, q_offset=q_offset, heads=sizes["heads"], batch=sizes["batch"])
    problem = Problem.drawn(q_len, kv_len, **sizes)
    there = unread(pattern, problem.query.device)
    check_attention(there, as_broadcast(mask, pattern), problem, q_offset=q_offset, backend="triton", config=config)
    return there


@pytest.mark.parametrize("name", PATTERNS)
def test_results_agree_with_the_oracle_and_no_table_is_read(name: str) -> None:
    draw = np.random.default_rng(0)
    assert not is_read(check(PATTERNS[name](draw, 43), 43, 43))


@pytest.mark.parametrize("name", ["documents", "neighbouring buckets of each head", "global tokens"])
def test_atomics_add_up_the_same_gradients(name: str) -> None:
    check(PATTERNS[name](np.random.default_rng(1), 50), 50, 50, config={**SMALL, "atomic": True})


@few
@given(st.sampled_from(sorted(PATTERNS)), st.integers(1, 70), st.integers(0, 40), st.integers(0, 2**32), st.data())
def test_any_tables_and_lengths_agree_with_the_oracle(name: str, q_len: int, before: int, seed: int, data) -> None:
    kv_len = data.draw(st.integers(1, q_len + before))
    config = data.draw(st.sampled_from([{}, SMALL]))
    check(PATTERNS[name](np.random.default_rng(seed), q_len + before), q_len, kv_len, before, config)


@few
@given(cases())
def test_any_pattern_agrees_with_the_oracle(case: Case) -> None:
    problem = Problem.drawn(case.q_len, case.kv_len, batch=case.batch, heads=case.heads, kv_heads=case.heads)
    check_attention(
        unread(case.pattern, problem.query.device),
        torch.from_numpy(np.ascontiguousarray(case.mask)),
        problem,
        q_offset=case.q_offset,
        backend="triton",
        config=SMALL,
    )


@few
@given(cases(), st.data())
def test_any_score_agrees_with_the_oracle(case: Case, data: st.DataObject) -> None:
    drawn = data.draw(score_cases(case, case.heads))
    problem = Problem.drawn(case.q_len, case.kv_len, batch=case.batch, heads=case.heads, kv_heads=case.heads)
    check_attention(
        unread(case.pattern, problem.query.device),
        torch.from_numpy(np.ascontiguousarray(case.mask)),
        problem.with_weights(drawn.weights),
        score=drawn.score,
        formula=drawn.formula,
        q_offset=case.q_offset,
        backend="triton",
        config=SMALL,
    )
