"""Drawn examples: each shipped pattern can be shown without parameters, and what is drawn keeps the claims."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import pytest

import attncc
from attncc import Bounds, Condition, Distinct, Index, Lists, ParameterError, Sorted, Table
from attncc.frontend.catalog import factories
from attncc.visualization.examples import drawn_example
from attncc.visualization.lengths import shown_length


def test_each_shipped_pattern_has_an_example_that_is_planned_at_the_length_that_shows_it() -> None:
    for _, factory in factories():
        example = drawn_example(factory, {})
        assert [*example.drawn] == [parameter.name for parameter in factory.parameters if parameter.required]
        assert all(f"-p {name}=" in example.told for name in example.drawn)
        plan = attncc.plan(example.pattern, shown_length(example.pattern))
        assert not example.drawn or plan.nnz


@attncc.pattern
def claimed(
    i: Index,
    j: Index,
    *,
    order: Annotated[Table, Distinct()],
    starts: Annotated[Table, Sorted()],
    kinds: Annotated[Table, Bounds(minimum=2, maximum=4)],
    near: Annotated[Lists, Bounds(maximum=20)],
    below: Annotated[int, Bounds(maximum=3)],
) -> Condition:
    """Tables and lists with a claim each."""
    return (order[i] <= order[j]) & (starts[i] <= j) & (kinds[i] > below) | j.isin(near[i])


@attncc.pattern
def masked(i: Index, j: Index, *, mask: Table, first: int) -> Condition:
    """A mask, which two indices look up and whose entries are booleans."""
    seen: Condition = mask[i, j] & (j >= first)
    return seen


def test_drawn_tables_keep_the_claims_and_are_the_same_each_time() -> None:
    example, again = drawn_example(claimed, {}, 100), drawn_example(claimed, {}, 100)
    assert example.pattern.key == again.pattern.key
    assert example.drawn["below"] == 3
    assert {value.shape[0] for value in example.drawn.values() if np.ndim(value)} == {100}
    mask = attncc.dense_mask(example.pattern, 100)
    assert 0 < mask.sum() < mask.numel()


def test_tables_are_drawn_in_the_form_that_a_function_looks_up() -> None:
    found = drawn_example(masked, {"first": 4}).drawn
    assert [*found] == ["mask"]
    assert found["mask"].dtype == bool
    assert found["mask"].shape == (64, 64)


def test_a_given_value_that_a_parameter_cannot_have_is_an_error() -> None:
    with pytest.raises(ParameterError, match="below=9"):
        drawn_example(claimed, {"below": 9})
    with pytest.raises(ParameterError, match="window=3"):  # which the function refuses
        drawn_example(attncc.factory("longformer"), {"window": 3})
