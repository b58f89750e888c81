"""Lifted numbers: steps of decoding, whose sequences grow, launch the same kernels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from sequence_cases import SequenceCase, sequence_cases

import attncc
from attncc.backends.inputs import Inputs
from attncc.backends.triton import BACKEND, lifting
from attncc.backends.triton.modules import kernel, render
from attncc.ir.evaluate import evaluate_predicate
from attncc.ir.symbols import I, J
from attncc.planner.shape import Shape
from attncc.planner.specialise import specialise
from attncc.targets import target

TREE = attncc.load("speculative_tree", enter=[0, 1, 2, 3], leave=[4, 2, 4, 4])
ALIBI = attncc.alibi(slopes=torch.rand(2))
STEPS = 20


def sources(pattern: attncc.Pattern, score: attncc.Score | None, q_len: int) -> set[str]:
    """Return the sources of all kernels of steps in which two sequences grow."""
    found = set()
    for step in range(STEPS):
        lengths = np.array([300 + step, 100 + step])
        sequences = attncc.Sequences(lengths - q_len, lengths)
        made = attncc.plan(sequences.pattern(pattern), q_len, 512, batch=2, heads=2, target="h100")
        expression = None if score is None else sequences.score(score).expression
        inputs = Inputs.given(2, 2, None, 64, 64, "bf16")
        kernels = BACKEND.lower_kernels(made, expression, {}, inputs, target("h100"), False)
        found |= {render(launch.spec) for launch in kernels.lowered.launches("forward")}
    return found


@pytest.mark.parametrize(
    ("pattern", "score", "q_len", "most"),
    [
        (attncc.load("causal"), None, 1, 1),
        (attncc.load("causal"), ALIBI, 4, 2),  # two tables in one order or the other
        (attncc.load("sliding_window", window=100), None, 4, 2),  # at first the window holds all keys
        (TREE, None, 4, 1),
        (attncc.load("strided", l=8).union(), None, 4, 2),  # an offset that is a multiple leaves no remainder
        (attncc.load("fixed", l=8, c=1).union(), None, 4, 3),
    ],
    ids=["causal", "alibi", "window", "tree", "strided", "fixed"],
)
def test_steps_of_decoding_have_the_same_kernels(
    pattern: attncc.Pattern, score: attncc.Score | None, q_len: int, most: int
) -> None:
    assert len(sources(pattern, score, q_len)) <= most


@settings(max_examples=100)
@given(sequence_cases())
def test_a_lifted_residual_holds_where_the_residual_does(case: SequenceCase) -> None:
    shape = Shape(case.q_len, case.kv_len, 0, case.heads, len(case.lengths))
    pattern = attncc.Sequences(np.array(case.q_offset) + 500, case.lengths).pattern(case.pattern)
    residual = specialise(pattern.predicate, shape, len(case.lengths) - 1, 0)
    found, names, numbers = lifting.lifted(residual)
    env = {I: np.arange(case.q_len)[:, None], J: np.arange(case.kv_len)}
    symbols = {s: int(numbers[names.index(s.name)]) for s in found.free if s.name in names}
    assert {s.name for s in symbols} <= set(names)
    np.testing.assert_array_equal(
        np.broadcast_to(evaluate_predicate(found, env | symbols), (case.q_len, case.kv_len)),
        np.broadcast_to(evaluate_predicate(residual, env), (case.q_len, case.kv_len)),
    )


def test_specs_of_one_source_have_one_kernel() -> None:
    specs = []
    for leave in ([4, 2, 4, 4], [4, 3, 3, 4]):
        tree = attncc.load("speculative_tree", enter=[0, 1, 2, 3], leave=leave)
        made = attncc.plan(attncc.Sequences([300, 200], [304, 204]).pattern(tree), 4, 512, batch=2, target="h100")
        inputs = Inputs.given(2, 1, None, 64, 64, "fp32")
        lowered = BACKEND.lower_kernels(made, None, {}, inputs, target("h100"), False).lowered
        specs.append([launch.spec for launch in lowered.launches("forward")])
    first, second = (next(spec for spec in each if spec.tables) for each in specs)
    assert first != second
    assert kernel(first) is kernel(second)
