"""Sequences: the batch's pattern connects the pairs that each sequence's own does, at its own positions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from sequence_cases import SequenceCase, sequence_cases

import attncc
from attncc.errors import ShapeError
from attncc.frontend.sequences import Sequences, from_position
from attncc.testing.check import check_plan

CAUSAL = attncc.load("causal")


@given(sequence_cases())
def test_plans_cover_exactly_the_masks_of_all_sequences(case: SequenceCase) -> None:
    pattern = case.sequences.pattern(case.pattern)
    made = attncc.plan(pattern, case.q_len, case.kv_len, heads=case.heads, batch=len(case.lengths), tile=(16, 16))
    free = {symbol.name for symbol in pattern.free}
    mask = case.mask if "h" in free else case.mask[:, 0]
    check_plan(made, mask if "b" in free else mask[0])


def test_sequences_of_other_numbers_share_the_template_of_a_pattern() -> None:
    first, second = (Sequences(offset, [5, 7]).pattern(CAUSAL) for offset in ([4, 6], [1, 0]))
    assert first.template is second.template
    assert first.handle != second.handle
    assert Sequences([4, 6], [5, 7]).pattern(CAUSAL) is first


def test_a_band_of_positions_stays_a_range_of_keys_in_natural_order() -> None:
    window = attncc.load("sliding_window", window=8)
    made = attncc.plan(Sequences([60, 5], [124, 69]).pattern(window), 64, 128, batch=2)
    for group in made.groups:
        [work] = group.passes
        assert work.layout.kind == "identity"
        assert work.residual is None


def test_parameters_may_have_the_names_of_offsets_and_lengths() -> None:
    @attncc.pattern
    def named_alike(i, j, *, kv_len: attncc.Table, q_offset: attncc.Table):
        return (j >= kv_len[0]) & (j <= q_offset[0])

    pattern = Sequences([0, 3], [4, 6]).pattern(named_alike(kv_len=[1], q_offset=[4]))
    wanted = np.broadcast_to((np.arange(6) >= 1) & (np.arange(6) <= 4), (2, 2, 6)) & (
        np.arange(6) < np.array([4, 6])[:, None, None]
    )
    np.testing.assert_array_equal(attncc.dense_mask(pattern, 2, 6, batch=2).numpy(), wanted)


def test_sequences_say_what_they_are() -> None:
    assert repr(Sequences([3, 0])) == "Sequences(q_offset=[3, 0])"
    assert len(Sequences([3, 0])) == len(Sequences(None, torch.tensor([1, 2], dtype=torch.int32))) == 2


@pytest.mark.parametrize(
    ("q_offset", "kv_len", "problem"),
    [
        ([0.5, 1.0], None, "q_offset has shape (2,) and dtype float64"),
        ([[1, 2]], None, "q_offset has shape (1, 2) and dtype int64"),
        ([1 << 31], None, "q_offset has shape (1,) and entries from 2147483648"),
        ([], None, "q_offset has shape (0,)"),
        (None, [3, -1], "kv_len has shape (2,) and entries from -1 to 3"),
        (None, [True], "kv_len has shape (1,) and dtype bool"),
        ([1, 2], [3], "q_offset has 2 entries, kv_len 1"),
    ],
)
def test_numbers_that_are_no_positions_are_refused(q_offset, kv_len, problem: str) -> None:
    with pytest.raises(ShapeError) as refused:
        Sequences(q_offset, kv_len)
    assert problem in refused.value.problem
    assert refused.value.rule
    assert refused.value.fix


@pytest.mark.parametrize("pattern", [attncc.load("fixed", l=8, c=2).union(), attncc.load("strided", l=8)])
def test_a_part_from_a_position_counts_from_0(pattern: attncc.Pattern) -> None:
    whole, part = attncc.dense_mask(pattern, 40), attncc.dense_mask(from_position(pattern, 13), 27)
    assert torch.equal(part, whole[13:, 13:])
    assert from_position(pattern, 0) is pattern
