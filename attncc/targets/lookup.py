"""Finding a target: by its name, by an architecture, or by what a driver calls a device."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from importlib import resources

from attncc.errors import ConfigError, nearest
from attncc.targets.facts import Gpu, Target, parsed

_PACKAGE = "attncc.targets"


@cache
def names() -> tuple[str, ...]:
    """Return the names of the shipped targets."""
    files = (entry.name for entry in resources.files(_PACKAGE).iterdir())
    return tuple(sorted(name.removesuffix(".toml") for name in files if name.endswith(".toml")))


def target(name: str) -> Target:
    """Return a target.

    Args:
        name: Its name, or its architecture (`sm_90`: the first target that has it).

    Raises:
        ConfigError: If there is none.
    """
    if isinstance(name, str):
        if name in names():
            return _shipped(name)
        for known in _gpus():
            if known.gpu is not None and known.gpu.arch == name:
                return known
    raise ConfigError(
        f"Unknown target {name!r}.",
        rule=f"A target is one of {', '.join(names())}, or an architecture, one of {', '.join(_architectures())}.",
        fix=nearest(name, (*names(), *_architectures())),
    )


@cache
def _shipped(name: str) -> Target:
    text = resources.files(_PACKAGE).joinpath(f"{name}.toml").read_text("utf-8")
    return parsed(name, tomllib.loads(text))


def gpu(name: str) -> Gpu:
    """Return the facts of a GPU.

    Args:
        name: The name of its target, or its architecture.

    Raises:
        ConfigError: If there is none, or it is a CPU.
    """
    device = target(name)
    if device.gpu is None:
        raise ConfigError(
            f"Target {name!r} is not a GPU.",
            rule="Kernels are compiled for GPUs.",
            fix=f"Choose one of {', '.join(known.name for known in _gpus())}.",
        )
    return device.gpu


def for_device(device_name: str, arch: str) -> Target:
    """Return the target of a live device.

    Where no target of its generation has its name, it is the one of the vendor's nearest architecture: rtx4090 for an
    sm_86, a100 for an sm_75, mi355x for a gfx1201; `attncc doctor` says which.

    Args:
        device_name: As the driver gives it.
        arch: As the driver gives it, `sm_90` or `gfx942`.

    Raises:
        ConfigError: For an architecture of neither vendor.
    """
    vendor, generation, number = _place(arch)
    near = [known for known in _gpus() if _of(known)[0] == vendor]
    if not near:
        raise ConfigError(
            f"No target is known for {device_name!r} ({arch}).",
            rule="Targets are GPUs of NVIDIA (sm_90) and of AMD (gfx942).",
            fix="Name a target that comes near it, or add a file to attncc/targets.",
        )
    same = [known for known in near if _of(known)[1] == generation]
    named = [known for known in same if re.search(known.device, device_name, re.IGNORECASE)]
    return min(named or same or near, key=lambda known: abs(_of(known)[2] - number))


def _gpus() -> list[Target]:
    return [found for found in map(_shipped, names()) if found.gpu is not None]


def _architectures() -> list[str]:
    return sorted({known.gpu.arch for known in _gpus() if known.gpu is not None})


def _of(known: Target) -> tuple[str, str, int]:
    assert known.gpu is not None
    return _place(known.gpu.arch)


def _place(arch: str) -> tuple[str, str, int]:
    """Return an architecture's vendor, generation (all but the last digit) and number: sm, 12, 120 for sm_120."""
    if found := re.fullmatch(r"sm_(\d+)(\d)[af]?", arch):
        return "sm", found[1], int(found[1] + found[2])
    if found := re.fullmatch(r"gfx([0-9a-f]+)([0-9a-f])", arch.partition(":")[0]):
        return "gfx", found[1], int(found[1] + found[2], 16)
    return "", "", 0
