"""Lists as parameters: memberships in the language, and what is refused."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch

import attncc
from attncc.errors import PatternError, TableError
from attncc.frontend.catalog import parse_parameters
from attncc.frontend.language import Index
from attncc.ir.symbols import H, I, J

i, j = Index.of(I), Index.of(J)
BLOCKS = np.array([[0, 1, -1], [2, 2, 0], [-1, -1, -1], [3, 9, -5]])
N = 32


@attncc.pattern
def listed(i, j, *, blocks: attncc.Lists):
    return (j // 8).isin(blocks[i // 8])


def mask(blocks: np.ndarray, q_len: int = N, kv_len: int = N) -> np.ndarray:
    row, number = np.ix_(np.arange(q_len) // 8, np.arange(kv_len) // 8)
    return np.array([[n in blocks[r] for n in number[0]] for r in row[:, 0]])


def test_a_membership_is_a_condition_and_a_number() -> None:
    inside = mask(BLOCKS)
    np.testing.assert_array_equal(attncc.dense_mask(listed(blocks=BLOCKS), N).numpy(), inside)
    np.testing.assert_array_equal(attncc.dense_mask(~listed(blocks=BLOCKS), N).numpy(), ~inside)
    row = attncc.Lists(BLOCKS)[i // 8]
    assert ((j // 8).isin(row) == 1).predicate == (j // 8).isin(row).predicate
    assert (2 * (j // 8).isin(row) + 1 >= 3).predicate == (j // 8).isin(row).predicate


def test_lists_are_tensors_arrays_or_lists_in_any_order() -> None:
    keys = {listed(blocks=data).key for data in (BLOCKS, torch.from_numpy(BLOCKS), BLOCKS.tolist(), BLOCKS[:, ::-1])}
    assert len(keys) == 1


def test_a_copy_is_the_same_pattern() -> None:
    pattern = listed(blocks=BLOCKS)
    assert pickle.loads(pickle.dumps(pattern)).handle == copy.deepcopy(pattern).handle == pattern.handle


def test_dimensions_in_front_are_batch_entry_and_head() -> None:
    rng = np.random.default_rng(0)
    blocks = rng.integers(-1, 4, (2, 3, 4, 2))
    for lists in (blocks, blocks[:, :1], blocks[:1, :1], blocks[:, 0]):
        found = attncc.dense_mask(listed(blocks=lists), N, heads=3, batch=2)
        whole = np.broadcast_to(lists if lists.ndim == 4 else lists[:, None], blocks.shape)
        right = np.array([[mask(whole[b, h]) for h in range(3)] for b in range(2)])
        missing = tuple(range(2, 2 + 4 - found.ndim))
        np.testing.assert_array_equal(np.broadcast_to(_spread(found.numpy(), lists), right.shape), right, str(missing))


def _spread(found: np.ndarray, lists: np.ndarray) -> np.ndarray:
    by_batch, by_head = lists.shape[0] > 1, lists.ndim == 4 and lists.shape[1] > 1
    return found.reshape(2 if by_batch else 1, 3 if by_head else 1, N, N)


def test_a_row_may_be_chosen_by_the_head() -> None:
    rng = np.random.default_rng(1)
    blocks = rng.integers(-1, 4, (3, 4, 2))

    @attncc.pattern
    def by_head(i, j, h, *, blocks: attncc.Lists):
        return (j // 8).isin(blocks[h, i // 8])

    found = attncc.dense_mask(by_head(blocks=blocks), N, heads=3).numpy()
    np.testing.assert_array_equal(found, np.array([mask(each) for each in blocks]))
    assert by_head(blocks=blocks).predicate.free == {H, I, J}


REFUSED = {
    "a row compared": (lambda t, r: j // 8 == r, "row of lists 'blocks' was used as a number"),
    "a row compared from the left": (lambda t, r: r == j, "row of lists 'blocks' was used as a number"),
    "a row added": (lambda t, r: r + 1, "row of lists 'blocks' was used as a number"),
    "a row in arithmetic": (lambda t, r: j - r, "row of lists 'blocks' was used as a number"),
    "in": (lambda t, r: j in r, "row of lists 'blocks' was used as a number"),
    "a table's entry": (lambda t, r: j.isin(t[i]), r"isin\(a Index\)"),
    "a table": (lambda t, r: j.isin(t), r"isin\(Table\('table'"),
    "lists without a row": (lambda t, r: j.isin(attncc.Lists(BLOCKS)), r"isin\(Lists\('lists'"),
    "numbers": (lambda t, r: j.isin([1, 2]), r"isin\(a list\)"),
    "too many indices": (lambda t, r: attncc.Lists(BLOCKS)[i, j], "with 2 indices"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_misuse_is_refused(name: str) -> None:
    build, says = REFUSED[name]
    with pytest.raises(PatternError, match=says) as caught:
        build(attncc.Table([0, 1]), attncc.Lists(BLOCKS, "blocks")[i // 8])
    assert "isin" in caught.value.fix or "indices" in caught.value.fix


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ([0, 1, 2], r"shape \(3,\)"),
        (BLOCKS / 2, "float64"),
        (BLOCKS == 0, "booleans"),
        ([[1 << 62]], "4611686018427387904 in size"),
        (np.array([[1 << 63]], np.uint64), "9223372036854775808"),
        (np.zeros((1, 1, 1, 1, 1), int), r"\(1, 1, 1, 1, 1\)"),
        (np.zeros((3, 0), int), r"\(3, 0\)"),
        ([[0, 1], [2]], "can't be read as a table"),
    ],
)
def test_other_data_is_refused(data: object, says: str) -> None:
    with pytest.raises(TableError, match=says):
        listed(blocks=data)


def test_rows_lie_inside_and_numbers_may_not() -> None:
    with pytest.raises(TableError, match="Lists 'blocks' have 4 entries along axis 0, but its index"):
        attncc.plan(listed(blocks=BLOCKS), N + 8, N)
    assert attncc.plan(listed(blocks=BLOCKS), N, 80).nnz == mask(BLOCKS, N, 80).sum()
    assert attncc.plan(listed(blocks=BLOCKS), N, 8).nnz == mask(BLOCKS, N, 8).sum()


def test_batch_entries_and_heads_are_as_many_as_the_tensors_have() -> None:
    q = torch.zeros(1, 1, N, 4)
    with pytest.raises(TableError, match="have 2 batch entries, the tensors have 1"):
        attncc.attention(q, q, q, listed(blocks=np.stack([BLOCKS, BLOCKS])))


def test_lists_are_written_on_a_command_line() -> None:
    found = parse_parameters(listed, ["blocks=0,1;2,-1"])["blocks"]
    assert found.data.tolist() == [[0, 1], [-1, 2]]


def test_scores_ask_for_memberships() -> None:
    @attncc.score
    def favoured(i, j, *, blocks: attncc.Lists):
        return attncc.where((j // 8).isin(blocks[i // 8]), 1.0, 0.0)

    q, k, v = torch.randn(3, 1, 1, N, 8, generator=torch.Generator().manual_seed(0))
    out = attncc.attention(q, k, v, attncc.load("causal"), score=favoured(blocks=BLOCKS))
    bias = torch.from_numpy(mask(BLOCKS).astype(np.float32)).masked_fill(torch.ones(N, N).triu(1) > 0, -torch.inf)
    torch.testing.assert_close(out, torch.nn.functional.scaled_dot_product_attention(q, k, v, bias))
