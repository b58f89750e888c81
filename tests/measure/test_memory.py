"""Peak memory of a call: temporaries count, earlier allocations don't."""

from __future__ import annotations

import torch

from attncc.measure.memory import peak

CPU = torch.device("cpu")
MEGABYTE = 1 << 20


def test_peaks_include_temporaries() -> None:
    found = peak(lambda: torch.ones(64 * MEGABYTE, dtype=torch.uint8).max(), CPU)
    assert 60 * MEGABYTE < found < 200 * MEGABYTE


def test_peaks_exclude_earlier_allocations() -> None:
    held = torch.ones(64 * MEGABYTE, dtype=torch.uint8)
    assert peak(lambda: held[:10].sum(), CPU) < 30 * MEGABYTE
