"""The lock that serialises timing on a device: timings that overlap say nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress

from attncc._util.locking import locked
from attncc._util.storage import cache_folder


@contextmanager
def alone(devices: Sequence[str], on_wait: Callable[[str], None]) -> Iterator[None]:
    """Keep every other process from timing on devices while the block runs, having waited for those that do.

    The locks are in the cache; where that can't be written to, of which the tuner warns, nobody waits. `on_wait` gets a
    sentence that says who is waited for.
    """
    with ExitStack() as held:
        for name in sorted(map(_identity, devices)):  # in one order everywhere, so that no two wait for each other
            path = cache_folder("locks") / f"{name}.lock"
            with suppress(OSError):
                what = f"{name} to be free for timing"
                held.enter_context(locked(path, what, root=path.parent, on_wait=on_wait))
        yield


def _identity(device: str) -> str:
    """Return a name of a device that all processes have for it, whichever GPUs each of them sees."""
    if not device.startswith("cuda"):
        return device
    import torch

    return f"cuda-{torch.cuda.get_device_properties(device).uuid}"
