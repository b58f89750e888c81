"""Documents: packed patterns connect the pairs that each document's own do, in plans without pairs to look at."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from packed_cases import PackedCase, documents_of, packed_cases, together

import attncc
from attncc.errors import ShapeError, TableError
from attncc.testing.check import check_plan

UNEQUAL = documents_of([5, 0, 17, 1, 9], [8, 4, 17, 0, 3])
#: A mask of pairs of positions, from -10 and from 0.
PAIRS = np.random.default_rng(0).random((30, 20)) < 0.4


@attncc.pattern
def dilated(i, j, *, dilation: int):
    return (j <= i) & ((i - j) % dilation == 0)


@attncc.pattern
def nearby(i, j, *, w: int):
    return abs(i - j) <= w


@attncc.pattern
def masked(i, j, *, pairs: attncc.Table):
    return pairs[i + 10, j]


@attncc.pattern
def bucketed(i, j, *, buckets: attncc.Table):
    return buckets[i + 10] == buckets[j]


@attncc.pattern
def by_gap(i, j, *, gaps: attncc.Table):
    return (j <= i) & (gaps[i - j] == 0)


@attncc.pattern
def last_half(i, j, n_q, n_k):
    return (2 * j >= n_k) & (2 * (n_k - i) < n_q)


@attncc.pattern
def block_causal(i, j, *, block: int):
    return j // block <= i // block


@attncc.pattern
def windows(i, j, b, *, width: attncc.Table):
    """A window for each document."""
    return (j <= i) & (i - j < width[b])


@attncc.pattern
def labelled(i, j, *, ids: attncc.Table):
    """Labels for each document, (B, N)."""
    return ids[i + 10] == ids[j]


LABELS = np.random.default_rng(1).integers(0, 3, (5, 30))
PATTERNS = [
    attncc.load("full"),
    attncc.load("causal"),
    attncc.load("sliding_window", window=4),
    attncc.load("prefix", length=3),
    attncc.load("block_diagonal", block=4),
    attncc.load("strided", l=4),
    attncc.load("fixed", l=4, c=1),
    attncc.load("fixed", l=4, c=1).heads(),
    ~attncc.load("strided", l=4).union(),
    attncc.per_head([attncc.load("causal"), nearby(w=2)]),
    dilated(dilation=3),
    nearby(w=2),
    masked(pairs=PAIRS),
    bucketed(buckets=np.arange(30) * 7 % 4),
    by_gap(gaps=np.arange(20) % 3),
    last_half(),
    block_causal(block=4),
    windows(width=[3, 1, 4, 1, 5]),
    labelled(ids=LABELS),
]


def own_mask(documents: attncc.Documents, pattern: attncc.Pattern, heads: int) -> np.ndarray:
    """Return the mask of the packed sequence, (heads, Tq, Tk): that of each document on its own."""
    mask = np.zeros((heads, documents.q_len, documents.kv_len), bool)
    ends_q, ends_k = documents.cu_seqlens_q, documents.cu_seqlens_k
    for d in range(len(documents)):
        n_q, n_k = ends_q[d + 1] - ends_q[d], ends_k[d + 1] - ends_k[d]
        if n_q and n_k:
            own = attncc.dense_mask(pattern, n_q, n_k, q_offset=n_k - n_q, heads=heads, batch=len(documents)).numpy()
            free = {symbol.name for symbol in pattern.free}
            mask[:, ends_q[d] : ends_q[d + 1], ends_k[d] : ends_k[d + 1]] = own[d] if "b" in free else own
    return mask


def as_planned(mask: np.ndarray, packed: attncc.Pattern) -> np.ndarray:
    return mask if "h" in {symbol.name for symbol in packed.free} else mask[0]


@pytest.mark.parametrize("documents", [UNEQUAL, documents_of([6] * 5, [6] * 5)], ids=str)
@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: pattern.name)
def test_a_packed_pattern_connects_the_pairs_of_each_document(
    documents: attncc.Documents, pattern: attncc.Pattern
) -> None:
    packed = documents.pattern(pattern)
    made = attncc.plan(packed, documents.q_len, documents.kv_len, heads=2, tile=(16, 16))
    check_plan(made, as_planned(own_mask(documents, pattern, 2), packed))


@given(packed_cases(), st.sampled_from([(16, 16), (64, 64), (128, 32)]))
def test_packed_plans_cover_exactly_the_mask(case: PackedCase, tile: tuple[int, int]) -> None:
    packed = case.documents.pattern(case.pattern)
    assert {symbol.name for symbol in packed.predicate.free} <= {"i", "j", "h"}
    made = attncc.plan(packed, case.documents.q_len, case.documents.kv_len, heads=case.heads, tile=tile)
    check_plan(made, as_planned(case.mask[0], packed))


def test_masks_and_plans_have_the_dimensions_of_a_template_whatever_its_tables_hold() -> None:
    @attncc.pattern
    def seeming(i, j, h):
        return abs(i * (h % 2) % 1 - i) < 2  # for documents of two tokens this holds in every head

    packed = documents_of([2], [2]).pattern(seeming())
    assert "h" not in {symbol.name for symbol in packed.predicate.free}
    mask = attncc.dense_mask(packed, 2, heads=3).numpy()
    assert mask.shape == (3, 2, 2)
    check_plan(attncc.plan(packed, 2, heads=3), mask)


@pytest.mark.parametrize(("n_q", "n_k"), [([], []), ([0], [0]), ([3], [0]), ([0, 0], [5, 2]), ([2, 0], [0, 4])])
def test_documents_without_queries_or_keys_have_no_pairs(n_q: list[int], n_k: list[int]) -> None:
    documents = documents_of(n_q, n_k)
    for pattern in PATTERNS[:-2]:  # without those that have an entry for each document
        assert attncc.plan(documents.pattern(pattern), sum(n_q), sum(n_k), heads=2).nnz == 0


LENGTHS = np.random.default_rng(2).integers(200, 1800, 64).tolist()
LONGER = [n + m for n, m in zip(LENGTHS, np.random.default_rng(3).integers(0, 300, 64), strict=True)]


@pytest.mark.parametrize(("n_q", "n_k"), [([1024] * 64,) * 2, (LENGTHS,) * 2, (LENGTHS, LONGER)], ids=lambda n: sum(n))
@pytest.mark.parametrize(
    "pattern",
    [
        *PATTERNS[:2],
        attncc.load("sliding_window", window=256),
        attncc.load("strided", l=128),
        attncc.load("fixed", l=128, c=8),
        attncc.load("block_diagonal", block=256),
        block_causal(block=100),
        nearby(w=100),
    ],
    ids=lambda pattern: pattern.name,
)
def test_everyday_patterns_leave_no_pairs_to_look_at(pattern: attncc.Pattern, n_q: list[int], n_k: list[int]) -> None:
    made = attncc.plan(documents_of(n_q, n_k).pattern(pattern), sum(n_q), sum(n_k))
    assert [part.layout.residual for group in made.groups for part in group.passes if part.layout.residual] == []


@pytest.mark.parametrize(("lengths", "most"), [([1024] * 64, 1.13), (LENGTHS, 1.4)])
def test_tiles_visited_hold_little_more_than_the_pairs_of_documents(lengths: list[int], most: float) -> None:
    total = sum(lengths)
    made = attncc.plan(documents_of(lengths, lengths).pattern(attncc.load("causal")), total)
    assert made.nnz == sum(n * (n + 1) // 2 for n in lengths)
    [work] = made.groups[0].passes
    visited = (work.tiles.num_full + work.tiles.num_partial) * work.block_m * work.block_n
    assert made.nnz <= visited <= most * made.nnz


def test_documents_of_the_same_tokens_keep_bands_in_closed_form() -> None:
    packed = documents_of([3, 4], [3, 4]).pattern(attncc.load("sliding_window", window=2))
    [group] = attncc.plan(packed, 7).groups
    assert group.passes[0].layout.kind == "identity"
    assert "i − 1 ≤ j ≤ i" in attncc.plan(packed, 7).explain()


def test_a_document_alone_has_its_own_pattern() -> None:
    causal = attncc.load("causal")
    made = attncc.plan(documents_of([5], [5]).pattern(causal), 5)
    check_plan(made, np.tril(np.ones((5, 5), bool)))
    assert not made.pattern.predicate.tables


def test_the_same_documents_and_pattern_give_one_packed_pattern() -> None:
    documents = documents_of([3, 4], [3, 4])
    assert documents.pattern(attncc.load("causal")) is documents.pattern(attncc.load("causal"))
    assert documents.pattern(attncc.load("causal")) == documents_of([3, 4], [3, 4]).pattern(attncc.load("causal"))
    assert documents.pattern(attncc.load("causal")) != documents_of([4, 3], [4, 3]).pattern(attncc.load("causal"))


def test_sets_of_documents_say_what_they_are() -> None:
    assert repr(UNEQUAL) == "Documents(5 of 32 queries and 32 keys)"
    assert together(UNEQUAL).sum() == sum(n * m for n, m in zip([5, 0, 17, 1, 9], [8, 4, 17, 0, 3], strict=True))


@pytest.mark.parametrize("kind", [list, np.array, torch.tensor, lambda ends: torch.tensor(ends, dtype=torch.int32)])
def test_ends_are_integers_of_any_kind(kind) -> None:
    assert attncc.Documents(kind([0, 2, 5])).cu_seqlens_k.tolist() == [0, 2, 5]


@pytest.mark.parametrize(
    ("ends", "problem"),
    [
        ([1, 4], "begins with 1"),
        ([0, 4, 2, 7], "falls from 4 to 2"),
        ([0, -3], "falls from 0 to -3"),
        ([0, 1 << 31], "ends with 2147483648"),
        ([0.0, 3.0], "dtype float64"),
        ([False, True], "dtype bool"),
        ([], "shape (0,)"),
        (0, "shape ()"),
        ([[0, 3]], "shape (1, 2)"),
    ],
)
def test_ends_that_are_none_are_refused(ends, problem: str) -> None:
    for arguments in ([ends], [[0, 3], ends]):
        with pytest.raises(ShapeError) as refused:
            attncc.Documents(*arguments)
        assert problem in refused.value.problem
        assert f"cu_seqlens_{'k' if len(arguments) > 1 else 'q'}" in refused.value.problem
        assert refused.value.rule
        assert refused.value.fix


def test_queries_and_keys_are_of_as_many_documents() -> None:
    with pytest.raises(ShapeError, match="3 entries, cu_seqlens_k 2"):
        attncc.Documents([0, 1, 2], [0, 2])


def test_tables_by_batch_entry_have_one_for_each_document() -> None:
    with pytest.raises(TableError, match="5 batch entries, and there are 2 documents"):
        documents_of([3, 4], [3, 4]).pattern(labelled(ids=LABELS))


def test_documents_share_the_template_of_a_pattern() -> None:
    window = attncc.load("sliding_window", window=3)
    first, second = (attncc.Documents(ends).pattern(window) for ends in ([0, 3, 9, 14], [0, 5, 6, 21]))
    assert first.template is second.template
    assert first.handle != second.handle
    own = attncc.load("document", ids=np.arange(8) // 3)
    assert attncc.Documents([0, 4, 12]).pattern(own).template is attncc.Documents([0, 7, 9]).pattern(own).template


@attncc.pattern
def named_alike(i, j, *, start: attncc.Table, unused: attncc.Table):
    """A parameter with the name of a column."""
    return (start[i] <= j) & (j <= i)


def test_parameters_may_have_the_names_of_columns() -> None:
    start = np.array([0, 0, 1, 1, 2, 2, 3, 0])
    pattern = attncc.Documents([0, 3, 8]).pattern(named_alike(unused=[5], start=start))
    wanted = np.zeros((8, 8), bool)
    for first, last in ((0, 3), (3, 8)):
        i, j = np.indices((last - first,) * 2)
        wanted[first:last, first:last] = (start[i] <= j) & (j <= i)
    np.testing.assert_array_equal(attncc.dense_mask(pattern, 8).numpy(), wanted)
