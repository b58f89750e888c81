"""Workloads: their sizes are checked, and their inputs are the same in every run."""

from __future__ import annotations

import pytest
import torch

from attncc.errors import BackendError, ShapeError
from attncc.measure.workload import Workload


@pytest.mark.parametrize(
    ("sizes", "says"),
    [
        ({"seq_len": 0}, "at least 1"),
        ({"seq_len": 8, "heads": 6, "kv_heads": 4}, "multiple"),
        ({"seq_len": 8, "dtype": "bf61"}, "bf16"),
    ],
)
def test_invalid_sizes_are_refused(sizes: dict[str, object], says: str) -> None:
    with pytest.raises(ShapeError, match=says):
        Workload(**sizes)


def test_missing_devices_are_refused() -> None:
    with pytest.raises(BackendError, match="doctor"):
        Workload(8, device="cuda:99")


def test_inputs_have_the_right_shapes_and_dtypes() -> None:
    workload = Workload(8, batch=2, heads=4, kv_heads=2, head_dim=16, dtype="bf16")
    assert workload.grouped
    query, key, value, grad = workload.tensors()
    assert query.shape == grad.shape == (2, 4, 8, 16)
    assert key.shape == value.shape == (2, 2, 8, 16)
    assert {x.dtype for x in (query, key, value, grad)} == {torch.bfloat16}
    assert torch.equal(query, workload.tensors()[0])
