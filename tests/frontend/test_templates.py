"""Templates: what is shared by patterns that differ in their tables, and what isn't."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

import attncc
from attncc.errors import PatternError
from attncc.frontend.surroundings import surroundings
from attncc.frontend.templates import template_of


@attncc.pattern
def alike(i, j, *, ids: attncc.Table):
    return ids[i] == ids[j]


@attncc.pattern
def looking(i, j, *, ids: attncc.Table):
    return (i - j < int(ids.data.max())) & (ids[i] == ids[j])


@attncc.pattern
def crossed(i, j, *, left: attncc.Table, right: attncc.Table):
    return left[i] == right[j]


def mask(pattern: attncc.Pattern, length: int = 8) -> np.ndarray:
    return attncc.dense_mask(pattern, length).numpy()


def test_tables_of_one_rank_and_kind_share_a_template() -> None:
    first, second = alike(ids=[0, 1, 2]), alike(ids=torch.arange(9) // 2)
    assert first.template is second.template
    assert first.handle != second.handle
    assert first != second
    assert alike(ids=[[0, 1, 2]]).template is not first.template
    assert alike(ids=[True, False]).template is not first.template


def test_patterns_made_of_others_share_a_template() -> None:
    causal = attncc.load("causal")
    first, second = ((alike(ids=ids) & causal).causal() for ids in ([0, 1], [1, 1]))
    assert first.template.predicate == second.template.predicate
    a, b = (~alike(ids=ids) for ids in ([0, 1], [1, 1]))
    assert a.template is b.template


def test_a_function_that_asks_for_entries_gets_them() -> None:
    near, far = looking(ids=[0, 1, 2, 2, 1, 1, 0, 2]), looking(ids=[0, 1, 2, 2, 1, 1, 0, 9])
    assert not near.template.placeholders
    i, j = np.indices((8, 8))
    for pattern, most, ids in ((near, 2, [0, 1, 2, 2, 1, 1, 0, 2]), (far, 9, [0, 1, 2, 2, 1, 1, 0, 9])):
        np.testing.assert_array_equal(mask(pattern), (i - j < most) & (np.array(ids)[i] == np.array(ids)[j]))


def test_joined_patterns_keep_their_tables_apart() -> None:
    a, b, c = ([0, 1, 0, 1, 2, 2, 0, 1], [1, 1, 1, 0, 0, 0, 2, 2], [0, 0, 1, 1, 0, 0, 1, 1])
    x, y, z = map(np.array, (a, b, c))
    found = crossed(left=a, right=b) | (alike(ids=c) & ~crossed(left=c, right=a))
    wanted = (x[:, None] == y) | ((z[:, None] == z) & (z[:, None] != x))
    np.testing.assert_array_equal(mask(found), wanted)
    by_head = attncc.per_head([crossed(left=b, right=a), alike(ids=c)])
    found_heads = attncc.dense_mask(by_head, 8, heads=2).numpy()
    np.testing.assert_array_equal(found_heads[0], y[:, None] == x)
    np.testing.assert_array_equal(found_heads[1], z[:, None] == z)


def test_one_table_in_two_places_is_one_table() -> None:
    ids = [0, 0, 1, 1, 1, 2, 2, 2]
    both = alike(ids=ids) & alike(ids=list(ids))
    assert len(both.tables) == 1
    assert mask(both & crossed(left=ids, right=ids)).sum() == mask(alike(ids=ids)).sum()


def test_bound_patterns_are_pickled_with_their_tables() -> None:
    pattern = alike(ids=[3, 1, 3]) & attncc.load("causal")
    copied = pickle.loads(pickle.dumps(pattern))
    assert copied.handle == pattern.handle
    assert copied == pattern


def test_the_handle_of_another_process_is_refused() -> None:
    with pytest.raises(PatternError, match="isn't known in this process"):
        template_of("0123?")


def test_equal_sets_are_equal_whether_bound_or_not() -> None:
    table = attncc.Table([0, 1, 1, 0])
    bound = alike(ids=[0, 1, 1, 0])
    unbound = attncc.Pattern([alike(ids=table).predicate], "unbound")
    assert bound == unbound
    assert hash(bound) == hash(unbound)


FAR = 2


@attncc.pattern
def near(i, j, *, ids: attncc.Table):
    return (ids[i] == ids[j]) & (i - j < FAR)


def test_variables_that_change_give_other_templates(monkeypatch: pytest.MonkeyPatch) -> None:
    def declared(far: int) -> attncc.PatternFactory:
        @attncc.pattern
        def closed(i, j, *, ids: attncc.Table):
            return (ids[i] == ids[j]) & (i - j < far)

        return closed

    i, j = np.indices((8, 8))
    for far in (2, 5):
        monkeypatch.setitem(globals(), "FAR", far)
        for pattern in (near(ids=[0] * 8), declared(far)(ids=[0] * 8)):
            np.testing.assert_array_equal(mask(pattern), i - j < far)


class Settings:
    far = 2


FARS = {"far": 2}


def gap(i, j):
    return i - j if any(i is each for each in (i, j)) else FAR


def limit():
    return FAR


def of_helper(i, j):
    return gap(i, j) < limit()


def of_class(i, j):
    return i - j < Settings.far


def of_dictionary(i, j):
    return i - j < FARS["far"]


def of_inner(i, j):
    return i - j < next(FAR for _ in range(1))


@pytest.mark.parametrize("condition", [of_helper, of_class, of_dictionary, of_inner], ids=lambda f: f.__name__)
def test_templates_follow_all_that_a_function_reads(condition, monkeypatch: pytest.MonkeyPatch) -> None:
    @attncc.pattern
    def declared(i, j, *, ids: attncc.Table):
        return (ids[i] == ids[j]) & condition(i, j)

    i, j = np.indices((8, 8))
    for far in (2, 5):
        monkeypatch.setitem(globals(), "FAR", far)
        monkeypatch.setattr(Settings, "far", far)
        monkeypatch.setitem(FARS, "far", far)
        np.testing.assert_array_equal(mask(declared(ids=[0] * 8)), i - j < far)


def test_functions_that_read_what_may_change_unseen_have_surroundings_that_equal_no_others() -> None:
    for known in (of_helper, of_class, of_inner, near.function):
        assert surroundings(known) == surroundings(known)
    assert surroundings(of_dictionary) != surroundings(of_dictionary)


def test_scores_follow_all_that_a_function_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    @attncc.score
    def declared(score):
        return score * limit()

    keys = set()
    for far in (2, 5, 2):
        monkeypatch.setitem(globals(), "FAR", far)
        keys.add(declared().key)
    assert len(keys) == 2
