"""Longformer: windows, dilation by head, global tokens by batch entry, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import attncc
from attncc.testing import check_pattern
from attncc_longformer.roles import token_roles

N = 48
ROLES = token_roles(N, [[0, 7], [20]], lengths=[N, 31])


def by_definition(roles: np.ndarray, window: int, dilation: int) -> np.ndarray:
    """Return the mask of section 3.1, bool (N, N): pair by pair."""
    mask = np.zeros((len(roles), len(roles)), bool)
    for i, j in np.ndindex(mask.shape):
        near = (j - i) % dilation == 0 and abs(j - i) // dilation <= window // 2
        mask[i, j] = roles[i] > 0 and roles[j] > 0 and (near or 2 in (roles[i], roles[j]))
    return mask


@pytest.mark.parametrize("dilation", [1, 3])
def test_longformer_agrees_with_the_oracle(dilation: int) -> None:
    check_pattern(attncc.load("longformer", roles=ROLES, window=6, dilation=dilation), lengths=(1, 17, N))


def test_heads_may_have_dilations_of_their_own_and_see_no_future() -> None:
    heads = [attncc.load("longformer", roles=ROLES, window=4, dilation=dilation) for dilation in (1, 3)]
    check_pattern(attncc.per_head(heads).causal(), lengths=(17, N))


def test_a_symmetric_window_agrees_with_the_oracle() -> None:
    check_pattern(attncc.load("symmetric_window", window=6, dilation=4), lengths=(1, 17, N))


@settings(max_examples=30)
@given(
    st.lists(st.integers(0, 2), min_size=1, max_size=24),
    st.integers(1, 5).map(lambda half: 2 * half),
    st.integers(1, 3),
)
def test_pairs_are_those_of_the_definition(roles: list[int], window: int, dilation: int) -> None:
    pattern = attncc.load("longformer", roles=roles, window=window, dilation=dilation)
    mask = by_definition(np.array(roles), window, dilation)
    np.testing.assert_array_equal(attncc.dense_mask(pattern, len(roles)).numpy(), mask)


def test_subsets_are_the_window_with_global_keys_and_the_global_queries() -> None:
    pattern = attncc.load("longformer", roles=ROLES, window=6)
    near, everything = (attncc.dense_mask(pattern.layers(n), N, batch=2).numpy() for n in range(2))
    np.testing.assert_array_equal(near.any(-1), ROLES > 0)
    assert near[0, 40].nonzero()[0].tolist() == [0, 7, *range(37, 44)]
    np.testing.assert_array_equal(everything.any(-1), ROLES == 2)
    assert (everything.sum(-1)[ROLES == 2] == [N, N, 31]).all()


def test_roles_are_padding_local_and_global() -> None:
    np.testing.assert_array_equal(token_roles(4, [[0], [2, 1]], lengths=[3, 4]), [[2, 1, 1, 0], [1, 2, 2, 1]])
    np.testing.assert_array_equal(token_roles(3, [[]]), [[1, 1, 1]])


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: attncc.load("longformer", roles=ROLES, window=7), "window=7"),
        (lambda: attncc.load("longformer", roles=ROLES, window=0), "window"),
        (lambda: attncc.load("symmetric_window", window=7), "window=7"),
        (lambda: attncc.load("symmetric_window", dilation=0), "dilation"),
        (lambda: attncc.load("longformer", roles=[0, 1, 3]), "'roles' has 3"),
        (lambda: token_roles(4, [[1, 1]]), "global_tokens has 1 more than once"),
        (lambda: token_roles(4, [[4]]), "global_tokens has 4"),
        (lambda: token_roles(4, [[-1]]), "global_tokens has -1"),
        (lambda: token_roles(4, [[3]], lengths=[3]), "global_tokens has 3"),
        (lambda: token_roles(4, [[3]], lengths=[5]), "lengths has 5"),
        (lambda: token_roles(4, [[3]], lengths=[4, 4]), "lengths has 2"),
    ],
)
def test_errors_name_the_parameter(make, named: str) -> None:
    with pytest.raises(attncc.AttnccError, match=named):
        make()
