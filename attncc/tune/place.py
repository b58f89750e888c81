"""Places: which device of this machine a target is, if any, and which others are like it."""

from __future__ import annotations

from importlib.metadata import version

from attncc.targets import target as find_target

AUTO = "auto"
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


def devices(device: str, target: str, most: int) -> tuple[str, ...]:
    """Return the devices to measure on: at most so many GPUs of the target's kind, or the one given."""
    if device != GPU:
        return (device,)
    import torch

    from attncc.backends.device import target_name

    numbered = [torch.device(GPU, number) for number in range(torch.cuda.device_count())]
    return tuple(str(each) for each in numbered if target_name(each) == target)[:most]


def _has_no_gpu() -> bool:
    """Return whether torch is a build for CPUs, which its version tells much faster than importing it."""
    return version("torch").endswith("+cpu")


def _located_beside_a_gpu(named: str) -> tuple[str, str]:
    import torch

    from attncc.backends.device import target_name

    here = GPU if torch.cuda.is_available() else CPU
    own = target_name(torch.device(here))
    return (own, here) if named in (AUTO, own) else (named, "")
