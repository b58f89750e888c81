"""Bugs that were found once, each under the name of what went wrong."""

from __future__ import annotations

import pytest

import attncc
from attncc.backends.torch.config import Config
from attncc.backends.torch.lower import schedule
from attncc.ir.language import maximum, minimum, position
from attncc.ir.symbols import B, I, J
from attncc.testing import check_pattern

i, j, b = position(I), position(J), position(B)


def drawn(condition) -> attncc.Pattern:
    return attncc.Pattern([condition.predicate], "drawn")


def test_everything_and_nothing_had_one_key() -> None:
    everything, nothing = drawn(i % 2 < 2), drawn((i < 3) & (i > 5))
    assert everything.key != nothing.key
    assert attncc.plan(nothing, 4).nnz == 0
    assert attncc.plan(everything, 4).nnz == 16


def test_a_pattern_that_only_seemed_to_depend_on_b_shared_its_plan_with_one_that_did_not() -> None:
    plain, seeming = drawn(j <= i), drawn((j <= i) | ((j <= i) & (b % 3 == 1)))
    assert plain.key == seeming.key
    assert attncc.plan(seeming, 100, batch=2).mask_shape == attncc.plan(plain, 100, batch=2).mask_shape == (100, 100)
    assert attncc.dense_mask(seeming, 5, batch=2).shape == (5, 5)


def test_an_upper_bound_that_divides_unevenly_was_rounded_up() -> None:
    assert attncc.plan(drawn(3 * i < i), 4).nnz == 0
    assert attncc.plan(drawn(2 * j <= 7 - 2 * i), 9).nnz == int(attncc.dense_mask(drawn(2 * j <= 7 - 2 * i), 9).sum())


def test_a_mask_was_shared_by_tiles_although_it_depended_on_i() -> None:
    check_pattern(drawn((j <= i) | (i % 3 < 1)), lengths=(128, 200), heads=1, batch=1)


def test_not_equal_and_less_or_greater_had_different_keys() -> None:
    assert drawn(i != j).key == drawn((i < j) | (j < i)).key


def test_intermediate_results_beyond_64_bits_wrapped_around() -> None:
    fourth = drawn(i**4 <= j)
    assert attncc.plan(fourth, 300).nnz == int(attncc.dense_mask(fourth, 300).sum())
    with pytest.raises(attncc.PatternError, match="64 bits"):
        attncc.plan(fourth, 300_000)


@pytest.mark.parametrize(
    ("folded", "plain"),
    [
        (abs(i - j) <= 4, (i - j <= 4) & (j - i <= 4)),
        (abs(i // 8 - j // 8) < 2, (i // 8 - j // 8 < 2) & (j // 8 - i // 8 < 2)),
        (j >= maximum(i - 4, 8), (j >= i - 4) & (j >= 8)),
        (minimum(i, j) >= 3, (i >= 3) & (j >= 3)),
        (maximum(i, j) > 9, (i > 9) | (j > 9)),
        (maximum(i, j) == 7, ((i == 7) & (j <= 7)) | ((j == 7) & (i <= 7))),
    ],
    ids=lambda condition: str(condition),
)
def test_a_band_written_with_abs_minimum_or_maximum_was_evaluated_for_every_pair(folded, plain) -> None:
    assert drawn(folded).key == drawn(plain).key
    assert attncc.plan(drawn(folded), 40).nnz == int(attncc.dense_mask(drawn(folded), 40).sum())


def test_one_odd_item_at_the_end_made_every_item_of_a_two_sided_window_a_gather_with_a_mask_of_its_own() -> None:
    passes = attncc.plan(drawn((i - j <= 64) & (j - i <= 64)), 8192).groups[0].passes
    works = schedule(passes, 8192, Config()).works
    most = max(works, key=lambda work: work.rows.items)
    assert most.rows.items > 200
    assert most.cols.index is None
    assert most.mask is not None
    assert most.mask.shared
