"""The conformance suite on the triton backend, in small blocks, so that short sequences have many tiles."""

from typing import ClassVar

import torch

from attncc.backends.triton.config import KERNELS
from attncc.testing import BackendConformance


class TestTriton(BackendConformance):
    backend = "triton"
    device = "cuda" if torch.cuda.is_available() else "cpu"
    config: ClassVar[dict[str, int]] = {f"{kernel}.block_{axis}": 16 for kernel in KERNELS for axis in "mn"}
