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


def test_declarations_have_examples_of_their_own() -> None:
    @attncc.pattern(example=lambda n, w: {"starts": np.arange(n) // w * w})
    def own(i: Index, j: Index, *, starts: Annotated[Table, Sorted()], w: int = 4) -> Condition:
        return (starts[i] <= j) & (j <= i)

    example = drawn_example(own, {"w": 16})
    assert example.drawn["starts"].tolist() == (np.arange(64) // 16 * 16).tolist()
    assert "for 64 positions" in example.told
    assert not drawn_example(own, {"starts": [0, 0, 2]}).drawn


def test_examples_that_a_function_does_not_take_at_a_length_are_drawn_in_their_place() -> None:
    example = drawn_example(attncc.factory("bigbird"), {}, 64)  # one block, which can't be two global ones
    assert "seed" in example.told


def test_examples_show_what_makes_a_pattern() -> None:
    tree = drawn_example(attncc.factory("rollout_tree"), {}).pattern
    mask = attncc.dense_mask(tree, 64)
    assert mask.sum() < 64 * 65 // 2  # branches don't see one another
    assert mask[:, 0].all()
    roles = drawn_example(attncc.factory("longformer"), {}).drawn["roles"]
    assert 0 < (roles == 2).sum() < len(roles) // 16
    prefix = attncc.dense_mask(drawn_example(attncc.factory("prefix_lm"), {}).pattern, 64)
    assert 8 < prefix.reshape(64, 64)[0].sum() < 56


def test_a_given_value_that_a_parameter_cannot_have_is_an_error() -> None:
    with pytest.raises(ParameterError, match="below=9"):
        drawn_example(claimed, {"below": 9})
    with pytest.raises(ParameterError, match="window=3"):  # which the function refuses
        drawn_example(attncc.factory("longformer"), {"window": 3})
