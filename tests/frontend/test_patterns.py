"""The decorator, parameters, and the algebra of patterns."""

from __future__ import annotations

import gc
import os
import pickle
import subprocess
import sys
from typing import Annotated

import numpy as np
import pytest

import attncc
from attncc import Bounds, Table
from attncc.errors import ParameterError, PatternError
from attncc.frontend.patterns import by_handle


@attncc.pattern
def strided(i, j, *, l: int):
    """The last l positions, and every l-th position before them.

    More about it.
    """
    return (i - l <= j) & (j <= i), ((i - j) % l == 0) & (j <= i)


@attncc.pattern
def typed(i, j, *, w: Annotated[int, Bounds(minimum=1, maximum=9)] = 4, both: bool = False, t: Table = (0, 1)):
    reach = abs(i - j) < w
    return reach if both else reach & (j <= i)


def mask(pattern: attncc.Pattern, n: int = 24, **sizes: int) -> np.ndarray:
    return attncc.dense_mask(pattern, n, **sizes).numpy()


def test_factories_describe_themselves() -> None:
    assert strided.name == "strided"
    assert strided.signature == "strided(l: int)"
    assert strided.doc.startswith("The last l positions")
    assert repr(strided(l=4)) == "strided(l=4)"
    assert [str(p) for p in typed.parameters][:2] == ["w: int=4", "both: bool=False"]


def test_several_subsets_mean_their_union() -> None:
    p = strided(l=5)
    local, column = (mask(p.layers(m)) for m in range(2))
    np.testing.assert_array_equal(mask(p), local | column)
    np.testing.assert_array_equal(mask(p.union()), local | column)
    assert p.key == p.union().key


def test_heads_and_layers_take_the_subsets_in_turn() -> None:
    p = strided(l=5)
    subsets = [mask(p.layers(m)) for m in range(2)]
    by_head = mask(p.heads(), heads=5)
    for head in range(5):
        np.testing.assert_array_equal(by_head[head], subsets[head % 2])
    assert p.layers(7).key == p.layers(1).key


def test_set_operations_agree_with_boolean_masks() -> None:
    p, q = strided(l=5), attncc.load("full") & attncc.load("block_diagonal", block=8)
    np.testing.assert_array_equal(mask(p & q), mask(p) & mask(q))
    np.testing.assert_array_equal(mask(p | q), mask(p) | mask(q))
    np.testing.assert_array_equal(mask(~p), ~mask(p))
    np.testing.assert_array_equal(mask(q.causal()), mask(q) & np.tri(24, dtype=bool))
    assert (~~p).key == p.key


def test_per_head_accepts_factories_without_parameters() -> None:
    p = attncc.per_head([strided(l=3), attncc.factory("causal")])
    found = mask(p, heads=3)
    np.testing.assert_array_equal(found[0], found[2])
    np.testing.assert_array_equal(found[1], np.tri(24, dtype=bool))


def test_patterns_are_equal_as_sets() -> None:
    same = attncc.Pattern(list(strided(l=7).subsets), "another name")
    assert same == strided(l=7)
    assert hash(same) == hash(strided(l=7))
    assert strided(l=7) != strided(l=8)
    assert strided(l=7) != "strided"


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: strided(), "needs l"),
        (lambda: strided(k=3), "no parameter 'k'"),
        (lambda: strided(l=2.0), "declared as int"),
        (lambda: strided(l=True), "declared as int"),
        (lambda: strided(l="4"), "Pass an integer"),
        (lambda: typed(w=0), "at least 1 and at most 9"),
        (lambda: typed(w=10), "at least 1 and at most 9"),
        (lambda: typed(both=1), "declared as bool"),
        (lambda: typed(wide=3), "no parameter 'wide'"),
    ],
)
def test_parameters_are_checked(call, says: str) -> None:
    with pytest.raises(ParameterError, match=says):
        call()


def test_numpy_integers_are_integers() -> None:
    assert strided(l=np.int32(4)).key == strided(l=4).key


def test_declarations_are_checked() -> None:
    with pytest.raises(PatternError, match="annotated with int, bool"):

        @attncc.pattern
        def unannotated(i, j, window):
            return i < j

    with pytest.raises(PatternError, match="annotated with int, bool"):

        @attncc.pattern
        def floating(i, j, *, width: float):
            return i < j

    with pytest.raises(PatternError, match="can't be resolved"):

        @attncc.pattern
        def unknown(i, j, *, width: Nowhere):  # noqa: F821
            return i < j


def test_return_values_are_checked() -> None:
    @attncc.pattern
    def nothing(i, j):
        return ()

    @attncc.pattern
    def number(i, j):
        return i - j

    @attncc.pattern
    def raising(i, j):
        raise KeyError("x")

    with pytest.raises(PatternError, match=r"returned \(\)"):
        nothing()
    with pytest.raises(PatternError, match="'number' returned Index"):
        number()
    with pytest.raises(PatternError, match=r"raised KeyError.*\n.*test_patterns.py"):
        raising()
    with pytest.raises(PatternError, match="is not a pattern"):
        attncc.plan("strided", 8)


def test_flex_attention_mask_mods_are_predicates() -> None:
    def mask_mod(b, h, q_idx, kv_idx):
        return (q_idx >= kv_idx) & (q_idx - kv_idx <= 5 + 2 * h)

    @attncc.pattern
    def taken_over(i, j, h, b):
        return mask_mod(b, h, i, j)

    found = mask(taken_over(), heads=2)
    q, k = np.arange(24)[:, None], np.arange(24)[None, :]
    for h in range(2):
        np.testing.assert_array_equal(found[h], mask_mod(0, h, q, k))


def test_handles_depend_on_content_only() -> None:
    """Handles are equal in every process, so that a graph from elsewhere never names another pattern."""
    assert attncc.load("document", ids=[0, 0]).handle != attncc.load("document", ids=[0, 1]).handle
    assert attncc.load("sliding_window", window=4).handle != attncc.load("sliding_window", window=5).handle
    here = attncc.load("fixed", l=8, c=2) | attncc.load("document", ids=[3, 1, 4])
    program = (
        "import attncc; p = attncc.load('fixed', l=8, c=2) | attncc.load('document', ids=[3, 1, 4]); print(p.handle)"
    )
    for seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", program]
        found = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        assert found.stdout.strip() == here.handle


def test_handles_find_any_live_copy() -> None:
    pattern = attncc.load("document", ids=[0, 0, 1, 1])
    handle = pattern.handle
    copied = pickle.loads(pickle.dumps(pattern))
    assert copied == pattern
    assert copied.handle == handle
    del pattern
    gc.collect()
    assert by_handle(handle) == copied
    del copied
    gc.collect()
    with pytest.raises(attncc.PatternError, match="no longer exists"):
        by_handle(handle)


def test_a_pattern_made_of_others_reads_as_its_source_does() -> None:
    window, column = attncc.load("sliding_window", window=4), attncc.load("strided", l=8)
    written = {
        "sliding_window(window=4) | strided(l=8)": window | column,
        "(sliding_window(window=4) | strided(l=8)) & strided(l=8)": (window | column) & column,
        "sliding_window(window=4) & strided(l=8) & strided(l=8).heads()": window & column & column.heads(),
        "~(strided(l=8).union().causal() | strided(l=8).layers(1))": ~(column.union().causal() | column.layers(1)),
        "(~sliding_window(window=4)).causal()": (~window).causal(),
        "per_head([sliding_window(window=4), strided(l=8) | strided(l=8)])": attncc.per_head([window, column | column]),
        "packed(strided(l=8))": attncc.Documents([0, 3, 7]).pattern(column),
    }
    assert {text: repr(made) for text, made in written.items()} == {text: text for text in written}
