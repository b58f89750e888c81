"""One rank passes other tensors in the middle of training: all ranks name it and the difference."""

from __future__ import annotations

from pathlib import Path

import pytest
from faults import check, end, free_port, start

RANK = Path(__file__).with_name("odd_operator.py")
NO_RANK = -1  # all ranks raise


@pytest.mark.parametrize(
    ("change", "odd", "spread", "words"),
    [
        ("dtype", 2, 1, "bfloat16, with gradients"),
        ("gradients", 0, 1, "float32, no gradients"),
        pytest.param("batch", 1, 1, "batch 2", marks=pytest.mark.slow),
        pytest.param("dtype", 3, 2, "bfloat16, with gradients", marks=pytest.mark.slow),
    ],
)
def test_all_ranks_name_the_rank_with_other_tensors(tmp_path, change: str, odd: int, spread: int, words: str) -> None:
    processes = start(RANK, 4, tmp_path, free_port(), change, str(odd), str(spread))
    assert end(processes, NO_RANK), (tmp_path / "log").read_text()
    check(tmp_path, 4, NO_RANK, f"rank {odd} in ", words, named=odd)
