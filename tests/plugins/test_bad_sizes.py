"""Sizes that can't be, of what families compute with tensors: errors of attncc that name the parameter."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from attncc.errors import AttnccError
from attncc.nn.functional import infini
from attncc_bigbird.blocks import itc
from attncc_longformer.roles import token_roles
from attncc_low_rank.linear import causal_linear_attention
from attncc_memory.memorizing import nearest
from attncc_selected.choosing import moba_blocks
from attncc_selected.routed import routed_attention

X = torch.randn(1, 2, 32, 8)
LISTS = torch.zeros(1, 2, 32, 1, dtype=torch.int64)


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda: moba_blocks(X, X, 1, block=0), "block"),
        (lambda: moba_blocks(X, X, 1, block=8.0), "block"),
        (lambda: routed_attention(X, X, X, LISTS, block=0), "block"),
        (lambda: routed_attention(X, X, X, LISTS[:, :1], block=8), "blocks"),
        (lambda: nearest(X, X, 2.0), "k"),
        (lambda: nearest(X, X[:, :, :0], 1), "k"),
        (lambda: causal_linear_attention(X, X, X, chunk=2.0), "chunk"),
        (lambda: infini.infini_attention(X, X, X, torch.zeros(2), segment=2.0), "segment"),
        (lambda: token_roles(-1, [[]]), "n=-1"),
        (lambda: itc(256, block=64, random=-1), "random"),
    ],
)
def test_errors_name_the_parameter(call, names: str) -> None:
    with pytest.raises(AttnccError, match=names):
        call()


def test_numbers_of_numpy_are_integers() -> None:
    ours, wanted = itc(512, random=np.int64(2)), itc(512, random=2)
    np.testing.assert_array_equal(ours["blocks"].data, wanted["blocks"].data)
