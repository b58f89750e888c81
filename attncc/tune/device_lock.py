"""The lock that serialises timing on a device: timings that overlap say nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from filelock import FileLock, Timeout

from attncc.storage import cache_folder

#: Seconds to wait for a lock before that is told.
PATIENCE = 1.0


@contextmanager
def alone(devices: Sequence[str], on_step: Callable[[str], None]) -> Iterator[None]:
    """Keep every other process from timing on devices while the block runs, having waited for those that do.

    The locks are in the cache; where that can't be written to, of which the tuner warns, nobody waits.
    """
    with ExitStack() as held:
        for name in sorted(map(_identity, devices)):  # in one order everywhere, so that no two wait for each other
            lock = _lock(name)
            if lock is not None:
                _acquire(lock, name, on_step)
                held.callback(lock.release)
        yield


def _acquire(lock: FileLock, name: str, on_step: Callable[[str], None]) -> None:
    try:
        lock.acquire(timeout=PATIENCE)
    except Timeout:
        on_step(f"waiting for another process that measures on {name}")
        lock.acquire()


def _lock(name: str) -> FileLock | None:
    path = cache_folder("locks") / f"{name}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError:
        return None
    return FileLock(path)


def _identity(device: str) -> str:
    """Return a name of a device that all processes have for it, whichever GPUs each of them sees."""
    if not device.startswith("cuda"):
        return device
    import torch

    return f"cuda-{torch.cuda.get_device_properties(device).uuid}"
