"""sparse_transformer: the sets of Child et al. (2019), section 4.2, their three uses, and proofs of factorisation."""

from __future__ import annotations

import numpy as np
import pytest

import attncc
from attncc.testing import check_pattern

N, L, C = 45, 6, 2
#: Heads take turns in pairs, as many as there are subblocks.
HEADS, SUBBLOCKS = 6, 3


def strided_sets(i: int) -> tuple[set[int], set[int]]:
    """The paper's, where t = max(0, i - l)."""
    return set(range(max(0, i - L), i + 1)), {j for j in range(i + 1) if (i - j) % L == 0}


def fixed_sets(i: int, subblock: int = 0) -> tuple[set[int], set[int]]:
    stop = L - subblock * C
    return {j for j in range(i + 1) if j // L == i // L}, {j for j in range(i + 1) if stop - C <= j % L < stop}


def rows(pattern: attncc.Pattern, head: int = 0) -> list[set[int]]:
    mask = np.broadcast_to(attncc.dense_mask(pattern, N, heads=HEADS).numpy(), (HEADS, N, N))
    return [set(np.flatnonzero(row).tolist()) for row in mask[head]]


STRIDED, FIXED = attncc.load("strided", l=L), attncc.load("fixed", l=L, c=C)
MANY = attncc.load("fixed", l=L, c=C, subblocks=SUBBLOCKS)


@pytest.mark.parametrize(("pattern", "sets"), [(STRIDED, strided_sets), (FIXED, fixed_sets)], ids=["strided", "fixed"])
def test_subsets_are_used_by_layers_in_union_and_by_heads(pattern: attncc.Pattern, sets) -> None:
    first, second = (list(part) for part in zip(*map(sets, range(N)), strict=True))
    assert [rows(pattern.layers(n)) for n in range(3)] == [first, second, first]
    assert rows(pattern.union()) == [a | b for a, b in zip(first, second, strict=True)]
    assert [rows(pattern.heads(), head) for head in range(2)] == [first, second]


def test_the_window_of_the_paper_holds_one_position_more_than_the_stride() -> None:
    assert len(rows(STRIDED.layers(0))[-1]) == L + 1


@pytest.mark.parametrize("head", range(HEADS))
def test_pairs_of_heads_have_summary_columns_of_their_own(head: int) -> None:
    assert rows(MANY.layers(1), head) == [fixed_sets(i, head // 2)[1] for i in range(N)]
    assert rows(MANY.heads(), head) == [fixed_sets(i, head // 2)[head % 2] for i in range(N)]


@pytest.mark.parametrize("causal", [STRIDED, FIXED, MANY], ids=["strided", "fixed", "subblocks"])
def test_both_ways_is_causal_where_later_keys_are_dropped(causal: attncc.Pattern) -> None:
    both = attncc.load(f"{causal.name}_bidirectional", **causal.parameters)
    assert [both.layers(m).causal() for m in range(2)] == [causal.layers(m) for m in range(2)]
    mask = attncc.dense_mask(both, N)
    assert bool((mask == mask.mT).all()) == (causal is STRIDED)  # summaries don't see whom they summarise


def factorisation(pattern: attncc.Pattern, heads: int = 1):
    return next(found for found in attncc.verify(pattern, N, heads=heads) if found.name == "factorisation")


@pytest.mark.parametrize("name", ["strided", "fixed", "strided_bidirectional", "fixed_bidirectional"])
def test_two_steps_are_proved_to_connect_all_earlier_positions(name: str) -> None:
    sizes = {"l": L} if name.startswith("strided") else {"l": L, "c": C}
    assert factorisation(attncc.load(name, **sizes)).holds is True


def test_heads_of_other_subblocks_connect_all_positions_together_but_not_alone() -> None:
    """What follows a head's summaries in its block reaches later blocks through the heads of the last subblock."""
    alone = factorisation(MANY, HEADS)
    assert alone.holds is False
    assert alone.counterexample["head"] == 2
    together = attncc.load("fixed", l=L, c=C * SUBBLOCKS)
    merged = [set().union(*(rows(MANY.layers(1), head)[i] for head in range(HEADS))) for i in range(N)]
    assert merged == rows(together.layers(1))
    assert factorisation(together).holds is True


@pytest.mark.parametrize("name", ["fixed", "fixed_bidirectional"])
def test_subblocks_lie_inside_a_block(name: str) -> None:
    with pytest.raises(attncc.ParameterError, match="c=3 and subblocks=3 with l=8"):
        attncc.load(name, l=8, c=3, subblocks=3)


@pytest.mark.parametrize("pattern", [MANY, MANY.heads(), STRIDED.heads()], ids=["subblocks", "their heads", "strided"])
def test_heads_conform(pattern: attncc.Pattern) -> None:
    check_pattern(pattern, lengths=(1, N), heads=HEADS, batch=1)
