"""The checks that other tests rely on detect and name each mistake."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import attncc
from attncc.ir.normal import comparison
from attncc.ir.symbols import I, J
from attncc.planner.passes import Pass
from attncc.planner.plan import Plan
from attncc.planner.tiles import Tiles
from attncc.testing import check, check_attention, check_pattern, check_plan
from attncc.testing.oracle import Problem

LENGTH = 100
CAUSAL = attncc.load("causal")
MASK = attncc.dense_mask(CAUSAL, LENGTH)


def with_pass(change: Callable[[Pass], Pass]) -> Plan:
    """Return the plan of CAUSAL with a changed pass; it is a copy, as plans are kept."""
    made = attncc.plan(CAUSAL, LENGTH, tile=(16, 16))
    (group,) = made.groups
    ways = tuple(replace(way, passes=tuple(map(change, way.passes))) for way in group.alternatives)
    return replace(made, laid_out=(replace(group, alternatives=ways),))


def with_runs(wrong: Callable[[Tiles], Tiles]) -> Callable[[Pass], Pass]:
    """Return a change of what a pass says of its tiles."""

    def change(work: Pass) -> Pass:
        changed = replace(work)
        vars(changed)["tiles"] = wrong(work.tiles)
        return changed

    return change


def test_right_plans_pass() -> None:
    check_plan(with_pass(replace), MASK.numpy())


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (attncc.plan(attncc.load("sliding_window", window=8), LENGTH), "nnz"),
        (attncc.plan(CAUSAL, LENGTH - 1), "mask shape"),
        (replace(attncc.plan(CAUSAL, LENGTH), laid_out=()), "nnz 0"),
        (with_pass(with_runs(lambda tiles: replace(tiles, full=np.ones_like(tiles.full)))), "is FULL and lacks pairs"),
        (with_pass(with_runs(lambda tiles: tiles.select(slice(1, None)))), "is EMPTY and has pairs"),
        (with_pass(lambda work: replace(work, stated=(~CAUSAL).predicate)), "nnz 4950"),
        (with_pass(lambda work: replace(work, stated=comparison("ge", J - I))), "covers other pairs"),
    ],
)
def test_wrong_plans_are_detected(made: Plan, says: str) -> None:
    with pytest.raises(AssertionError, match=says):
        check_plan(made, MASK.numpy())


def twice(x: Tensor) -> Tensor:
    """Return x, with twice its gradient."""
    return x + (x - x.detach())


#: Changes of attention's inputs, and of its results.
WRONG: dict[str, tuple[Callable[..., tuple[Tensor, ...]], Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]]] = {
    "d_query is off": (lambda q, k, v: (twice(q), k, v), lambda out, lse: (out, lse)),
    "d_key is off": (lambda q, k, v: (q, twice(k), v), lambda out, lse: (out, lse)),
    "d_value is off": (lambda q, k, v: (q, k, twice(v)), lambda out, lse: (out, lse)),
    "out is off": (lambda *inputs: inputs, lambda out, lse: (out * 1.001, lse)),
    "lse is off": (lambda *inputs: inputs, lambda out, lse: (out, lse + 1e-3)),
    "out has NaN": (lambda *inputs: inputs, lambda out, lse: (out * torch.nan, lse)),
    "lse is -inf in other places": (
        lambda *inputs: inputs,
        lambda out, lse: (out, lse.masked_fill(lse > 2, -torch.inf)),
    ),
}


@pytest.mark.parametrize("says", WRONG)
def test_wrong_attention_is_detected(says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before, after = WRONG[says]

    def compiled(*arguments: Any, **options: Any) -> Callable[..., Any]:
        run = attncc.compile(*arguments, **options)
        return lambda *inputs: after(*run(*before(*inputs)))

    problem = Problem.drawn(LENGTH, LENGTH, heads=2)
    check_attention(CAUSAL, MASK, problem)
    monkeypatch.setattr(check, "compile", compiled)
    with pytest.raises(AssertionError, match=says):
        check_attention(CAUSAL, MASK, problem)


def test_wrong_planning_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "plan", lambda pattern, *lengths, **sizes: attncc.plan(~pattern, *lengths, **sizes))
    with pytest.raises(AssertionError, match="nnz"):
        check_pattern(CAUSAL, lengths=(9,))
