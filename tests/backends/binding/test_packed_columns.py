"""What is looked up of packed documents, computed where their ends lie: the host's numbers, and nothing waits."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_programs import NothingWaits
from torch._subclasses import FakeTensorMode

import attncc
from attncc.frontend.documents import LOOKED_UP
from attncc.ir.symbols import NK, NQ, B
from attncc.runtime.packed_columns import columns

LENGTHS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=6)


@given(LENGTHS, st.sampled_from([torch.int32, torch.int64]))
def test_columns_are_those_of_the_host(lengths: list[tuple[int, int]], dtype: torch.dtype) -> None:
    cu_q, cu_k = (np.concatenate([[0], np.cumsum(own)]) for own in zip(*lengths, strict=True))
    documents = attncc.Documents(cu_q, cu_k)
    wanted = documents.columns({B, NQ, NK})
    ends = (torch.tensor(own, dtype=dtype) for own in (cu_q, cu_k))
    found = columns(*ends, documents.q_len, documents.kv_len, asserts=True)
    assert len(wanted) == len(LOOKED_UP)
    for at, column in zip(LOOKED_UP, found, strict=True):
        assert column.dtype == torch.int32
        np.testing.assert_array_equal(column, np.broadcast_to(wanted[at], column.shape))


def test_columns_wait_for_nothing() -> None:
    for asserts in (False, True):
        with FakeTensorMode(), NothingWaits("cpu"):
            ends = torch.empty(5, dtype=torch.int32)
            found = columns(ends, ends, 40, 50, asserts=asserts)
        assert {len(x) for x in found} == {40, 50}
    with NothingWaits("meta"):
        ends = torch.empty(5, dtype=torch.int32, device="meta")
        columns(ends, ends, 40, 50, asserts=False)
