"""What a measurement runs: sizes, element type, device, and the random inputs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from attncc.backends.inputs import Inputs
from attncc.errors import BackendError, ShapeError
from attncc.planner.shape import Shape

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16, "fp64": torch.float64}


@dataclass(frozen=True)
class Workload:
    """Sizes in `B H N D`, element type (a name in DTYPES), device (as torch names it), seed of the inputs.

    Raises ShapeError or BackendError for sizes, names or devices that can't be.
    """

    seq_len: int
    batch: int = 1
    heads: int = 8
    kv_heads: int = 8
    head_dim: int = 64
    dtype: str = "fp32"
    device: str = "cpu"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.seq_len < 1:
            raise ShapeError(f"seq_len={self.seq_len}.", rule="Sizes are at least 1.", fix="Give 1 or more.")
        Inputs.given(self.batch, self.heads, self.kv_heads, self.head_dim, None, self.dtype)
        try:
            torch.empty(0, device=self.device)
        except (RuntimeError, AssertionError) as error:
            raise BackendError(
                f"Device {self.device!r} can't be used: {str(error).partition(chr(10))[0]}",
                fix="Run `attncc doctor` for the devices of this machine.",
            ) from error

    @property
    def shape(self) -> Shape:
        return Shape(self.seq_len, self.seq_len, 0, self.heads, self.batch)

    @property
    def grouped(self) -> bool:
        """Whether query heads share key heads."""
        return self.heads != self.kv_heads

    def tensors(self) -> list[Tensor]:
        """Return query, key, value and the output's gradient, from a normal distribution."""
        inputs = Inputs(self.batch, self.heads, self.kv_heads, self.head_dim, self.head_dim, self.dtype)
        return drawn(inputs, self.seq_len, self.seq_len, self.seed, self.device)


def drawn(inputs: Inputs, q_len: int, kv_len: int, seed: int, device: torch.device | str) -> list[Tensor]:
    """Return query, key, value and the output's gradient, from a normal distribution, the same on every device."""
    generator = torch.Generator().manual_seed(seed)
    sizes = [
        (inputs.heads, q_len, inputs.head_dim),
        (inputs.kv_heads, kv_len, inputs.head_dim),
        (inputs.kv_heads, kv_len, inputs.value_dim),
        (inputs.heads, q_len, inputs.value_dim),
    ]
    values = (torch.randn(inputs.batch, *size, generator=generator, device="cpu") for size in sizes)
    return [x.to(device, DTYPES[inputs.dtype]) for x in values]
