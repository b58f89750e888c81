"""The choices that the triton backend leaves open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from attncc.backends import choices
from attncc.backends.choices import is_integer, is_power, require
from attncc.backends.triton import defaults

PRECISIONS = ("ieee", "tf32")
#: Kernels that have blocks of their own.
KERNELS = ("forward", "query_gradient", "key_gradient")
#: The direction in which each of them runs.
DIRECTIONS = dict(zip(KERNELS, ("forward", "backward", "backward"), strict=True))


@dataclass(frozen=True)
class Blocks:
    """How one kernel is cut: query rows and keys of a tile (powers of two), warps of a program, pipeline stages.

    Attributes:
        item_tiles: The most tiles of a work item; 0 chooses by the mean of all items.
    """

    block_m: int
    block_n: int
    num_warps: int
    num_stages: int
    item_tiles: int = 0


@dataclass(frozen=True)
class KernelConfig:
    """Blocks of the three kernels, and choices that concern all of them.

    Attributes:
        precision: How float32 products are computed, `ieee` or `tf32`; 16-bit inputs know no choice.
        atomic: dQ and the gradients of weights are added up by the key-gradient kernel, with atomics, in place of a
            kernel of their own: fewer products, but sums in an order that differs from run to run.
    """

    forward: Blocks
    query_gradient: Blocks
    key_gradient: Blocks
    precision: str = "ieee"
    atomic: bool = False

    @classmethod
    def default(cls, arch: str, head_dim: int, itemsize: int) -> KernelConfig:
        """Return the configuration of an architecture ("sm_90"; "any" suits all) for head sizes up to 576.

        `itemsize` is in bytes, of an element of the inputs. Where it was chosen, its kernels take neither stack nor
        spills and stay within the limits; see defaults.toml.
        """
        blocks = defaults.blocks(arch, head_dim, itemsize)
        forward, query_gradient, key_gradient = (Blocks(*blocks[kernel]) for kernel in KERNELS)
        return cls(forward, query_gradient, key_gradient)

    def changed(self, values: Mapping[str, object]) -> KernelConfig:
        """Return the configuration with `values`, such as {"forward.block_m": 64}; raises ConfigError."""
        return choices.changed(self, values, "triton", _check)


def _check(name: str, value: object) -> None:
    match name.rpartition(".")[2]:
        case "precision":
            require(value in PRECISIONS, name, value, f"It is one of {', '.join(PRECISIONS)}.")
        case "atomic":
            require(isinstance(value, bool), name, value, "It is True or False.")
        case "item_tiles":
            require(is_integer(value, 0), name, value, "It is an integer of at least 0.")
        case "num_stages":
            require(is_integer(value, 1), name, value, "It is an integer of at least 1.")
        case "num_warps":
            require(is_power(value, 1), name, value, "It is a power of two.")
        case _:
            require(is_power(value, 16), name, value, "It is a power of two of at least 16.")
