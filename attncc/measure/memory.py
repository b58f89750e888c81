"""Peak memory of a call: the process's resident set on a CPU, the allocator's figure on a GPU."""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Callable

import psutil
import torch

#: Seconds between two readings of the resident set.
INTERVAL = 1e-3


def peak(call: Callable[[], object], device: torch.device) -> int:
    """Run `call` and return the most bytes held during it, above those held before."""
    if device.type == "cuda":
        return _peak_on_gpu(call, device)
    _give_back()
    with _ResidentSet() as resident:
        call()
    return resident.peak - resident.before


def _peak_on_gpu(call: Callable[[], object], device: torch.device) -> int:
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    call()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before


def _give_back() -> None:
    """Hand freed memory back to the system, where the C library can: kept, it would hide what the call takes."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


class _ResidentSet:
    """Reads the resident set in a thread while the context is open."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.before = self.peak = 0

    def _watch(self) -> None:
        while not self._done.wait(INTERVAL):
            self._read()

    def _read(self) -> None:
        self.peak = max(self.peak, self._process.memory_info().rss)

    def __enter__(self) -> _ResidentSet:
        self.before = self.peak = self._process.memory_info().rss
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._read()
        self._done.set()
        self._thread.join()
