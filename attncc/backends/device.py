"""The device that tensors are on, as attncc.targets knows it."""

from __future__ import annotations

import logging
from functools import cache

import torch

from attncc import targets
from attncc.ir.tables import Array

LOG = logging.getLogger("attncc")


def here() -> torch.device:
    """Return the device that is meant where none is named: the GPU, if there is one, or else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def placed(array: Array, device: torch.device) -> torch.Tensor:
    """Return an array as a tensor on a device; one that is read-only, as views that repeat are, is copied first."""
    return torch.as_tensor(array if array.flags.writeable else array.copy(), device=device)


def architecture(device: torch.device) -> str | None:
    """Return the architecture of a GPU as targets have it, sm_90 or gfx942, or None for another device."""
    if device.type != "cuda":
        return None
    properties = torch.cuda.get_device_properties(device)
    if torch.version.hip:
        return str(properties.gcnArchName.partition(":")[0])
    return f"sm_{properties.major}{properties.minor}"


def processors(device: torch.device) -> int:
    """Return the number of multiprocessors of a GPU, 1 for another device."""
    return int(torch.cuda.get_device_properties(device).multi_processor_count) if device.type == "cuda" else 1


@cache
def target_name(device: torch.device) -> str:
    """Return the name of the target that plans for tensors on `device` are ranked for."""
    arch = architecture(device)
    if arch is None:
        return "cpu"
    name = torch.cuda.get_device_name(device)
    found = targets.for_device(name, arch)
    if found.gpu is None or found.gpu.arch != arch:
        LOG.warning("No target is known for %r (%s). Plans are ranked for its nearest, %s.", name, arch, found.name)
    return found.name
