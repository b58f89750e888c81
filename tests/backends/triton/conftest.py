"""The kernels run on a GPU where there is one, and in Triton's interpreter elsewhere."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from attncc.backends.triton import interpreter

#: Without it cuBLAS, which the oracle needs, sums in no fixed order, and `poisoned` asks for one.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """On a machine with a GPU all tests of this folder are tests of it: `pytest -m gpu` selects them."""
    if torch.cuda.is_available():
        for item in items:
            if Path(item.path).is_relative_to(Path(__file__).parent):
                item.add_marker(pytest.mark.gpu)


@pytest.fixture(autouse=True)
def device() -> Iterator[str]:
    """Where the tests' tensors are made, oracle and all."""
    if not torch.cuda.is_available():
        yield "cpu"
        return
    torch.set_default_device("cuda")
    yield "cuda"
    torch.set_default_device(None)


@pytest.fixture
def poisoned():
    """Fill every new tensor with NaN, so that what a kernel leaves unwritten shows."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(autouse=True)
def bfloat16_is_converted_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail where an interpreted kernel computes in bfloat16.

    Triton's interpreter keeps the bits of bfloat16 in integers and computes with these: 1 + 1 is 1.7e38. Loads, stores,
    selections and conversions are right, and so are the products of `interpreter.prepare`.
    """
    if not interpreter.is_on():
        return
    import triton.language as tl
    from triton.runtime.interpreter import InterpreterBuilder

    def refusing(name: str) -> Any:
        operation = getattr(InterpreterBuilder, name)

        def checked(builder: Any, *arguments: Any) -> Any:
            used = [x for x in arguments if hasattr(x, "dtype")]
            assert not any(x.dtype.scalar == tl.bfloat16 for x in used), "the kernel computes in bfloat16"
            return operation(builder, *arguments)

        return checked

    for name in ("binary_op", "unary_op", "create_fma", "create_fabs"):
        monkeypatch.setattr(InterpreterBuilder, name, refusing(name))
