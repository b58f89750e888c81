"""Devices of this machine: which one a target is, which others are like it, and the lock that serialises timing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from importlib.metadata import version

from attncc._util.locking import locked
from attncc._util.storage import cache_folder
from attncc.targets import target as find_target
from attncc.tune.options import AUTO

CPU = "cpu"
GPU = "cuda"


def located(target: str) -> tuple[str, str]:
    """Return a target's name, and the device of this machine that it is, or an empty string.

    `auto` is the GPU, where there is one, or else the CPU. Raises ConfigError for an unknown target.
    """
    named = target if target == AUTO else find_target(target).name
    if named == CPU or _has_no_gpu():
        return (CPU, CPU) if named in (AUTO, CPU) else (named, "")
    return _located_beside_a_gpu(named)


def alike(device: str, target: str, most: int) -> tuple[str, ...]:
    """Return the devices to measure on: at most `most` GPUs of the target's kind, or the one given."""
    if device != GPU:
        return (device,)
    import torch

    from attncc.backends.device import target_name

    numbered = [torch.device(GPU, number) for number in range(torch.cuda.device_count())]
    return tuple(str(each) for each in numbered if target_name(each) == target)[:most]


@contextmanager
def alone(devices: Sequence[str], on_wait: Callable[[str], None]) -> Iterator[None]:
    """Keep every other process from timing on devices while the block runs: timings that overlap say nothing.

    It waits for processes that time now; `on_wait` gets a sentence that says who is waited for. The locks are in the
    cache; where that can't be written to, of which the tuner warns, nobody waits.
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
    if not device.startswith(GPU):
        return device
    import torch

    return f"cuda-{torch.cuda.get_device_properties(device).uuid}"


def _has_no_gpu() -> bool:
    """Return whether torch is a build for CPUs, which its version tells much faster than importing it."""
    return version("torch").endswith("+cpu")


def _located_beside_a_gpu(named: str) -> tuple[str, str]:
    import torch

    from attncc.backends.device import target_name

    here = GPU if torch.cuda.is_available() else CPU
    own = target_name(torch.device(here))
    return (own, here) if named in (AUTO, own) else (named, "")
