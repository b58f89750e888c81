"""The choices that the triton backend leaves open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from attncc.backends.triton import defaults
from attncc.errors import ConfigError, nearest

PRECISIONS = ("ieee", "tf32")
#: Kernels that have blocks of their own.
KERNELS = ("forward", "query_gradient", "key_gradient")


@dataclass(frozen=True)
class Blocks:
    """How one kernel is cut: query rows and keys of a tile (powers of two), warps of a program, pipeline stages."""

    block_m: int
    block_n: int
    num_warps: int
    num_stages: int


@dataclass(frozen=True)
class Config:
    """Blocks of the three kernels, and choices that concern all of them.

    item_tiles: the most tiles of a work item; 0 chooses by the mean of all items.
    precision: how float32 products are computed, `ieee` or `tf32`; 16-bit inputs know no choice.
    atomic: dQ is added up by the key-gradient kernel, with atomics, in place of a kernel of its own: fewer
    products, but sums in an order that differs from run to run.
    """

    forward: Blocks
    query_gradient: Blocks
    key_gradient: Blocks
    item_tiles: int = 0
    precision: str = "ieee"
    atomic: bool = False

    @classmethod
    def default(cls, arch: str, head_dim: int, itemsize: int) -> Config:
        """Return the configuration of an architecture ("sm_90"; "any" suits all) for head sizes up to 256.

        `itemsize` is in bytes, of an element of the inputs. Where it was chosen, its kernels take neither stack nor
        spills and stay within the limits; see defaults.toml.
        """
        found = defaults.blocks(arch, head_dim, itemsize)
        forward, query_gradient, key_gradient = (Blocks(*found[kernel]) for kernel in KERNELS)
        return cls(forward, query_gradient, key_gradient)

    def changed(self, values: Mapping[str, object]) -> Config:
        """Return the configuration with `values`, named as in `keys()`, in place of its own; raises ConfigError."""
        found: Any = self
        for name, value in values.items():
            _check(name, value)
            owner, _, field = name.rpartition(".")
            change: dict[str, Any] = (
                {owner: replace(getattr(found, owner), **{field: value})} if owner else {name: value}
            )
            found = replace(found, **change)
        return found  # type: ignore[no-any-return]


def keys() -> list[str]:
    """Return the names of all choices: forward.block_m, ..., key_gradient.num_stages, item_tiles, ..."""
    return [f"{kernel}.{field.name}" for kernel in KERNELS for field in fields(Blocks)] + [
        field.name for field in fields(Config) if field.name not in KERNELS
    ]


def _check(name: str, value: object) -> None:
    if name not in keys():
        raise ConfigError(
            f"Unknown config key {name!r}.",
            rule=f"The triton backend's keys are {', '.join(keys())}.",
            fix=nearest(name, keys()),
        )
    match name.rpartition(".")[2]:
        case "precision":
            _require(value in PRECISIONS, name, value, f"It is one of {', '.join(PRECISIONS)}.")
        case "atomic":
            _require(isinstance(value, bool), name, value, "It is True or False.")
        case "item_tiles":
            _require(_is_integer(value, 0), name, value, "It is an integer of at least 0.")
        case "num_stages":
            _require(_is_integer(value, 1), name, value, "It is an integer of at least 1.")
        case "num_warps":
            _require(_is_power(value, 1), name, value, "It is a power of two.")
        case _:
            _require(_is_power(value, 16), name, value, "It is a power of two of at least 16.")


def _require(holds: bool, name: str, value: object, rule: str) -> None:
    if not holds:
        raise ConfigError(f"config {name}={value!r}.", rule=rule)


def _is_integer(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_power(value: object, least: int) -> bool:
    return isinstance(value, int) and _is_integer(value, least) and not value & (value - 1)
