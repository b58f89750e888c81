"""The triton backend: its availability, and the inputs and configurations it accepts or refuses."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest
import torch

import attncc
from attncc import backends
from attncc.backends.choices import names
from attncc.backends.triton import BACKEND
from attncc.backends.triton.config import KernelConfig

CAUSAL = attncc.load("causal")


def tensors(head_dim: int = 16, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    return [torch.randn(1, 1, 20, head_dim, dtype=dtype) for _ in range(3)]


@pytest.mark.parametrize(
    ("head_dim", "dtype", "reason"),
    [(16, torch.float64, "not in torch.float64"), (577, torch.float32, "are 1 to 576, not 577")],
)
def test_unsupported_inputs_are_refused(head_dim: int, dtype: torch.dtype, reason: str) -> None:
    with pytest.raises(attncc.BackendError, match=reason):
        attncc.attention(*tensors(head_dim, dtype), CAUSAL, backend="triton")


def test_triton_is_unavailable_without_a_gpu_or_an_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("attncc.backends.triton.interpreter.is_on", lambda: False)
    assert "no GPU" in str(BACKEND.unavailable())
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert BACKEND.unavailable() == "triton is not installed"


def test_listing_backends_imports_no_triton() -> None:
    program = "import sys; from attncc import backends; import attncc.backends.triton; print('triton' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


def test_torch_is_preferred_on_a_cpu() -> None:
    assert backends.preferred(torch.device("cpu")) == ["torch"]


BAD = {
    "unknown": ({"forward.block_o": 64}, "Did you mean 'forward.block_"),
    "no power of two": ({"forward.block_m": 48}, "power of two"),
    "too small": ({"forward.block_m": 8}, "at least 16"),
    "negative": ({"forward.item_tiles": -1}, "at least 0"),
    "no number": ({"forward.num_stages": "two"}, "integer"),
    "a number": ({"atomic": 1}, "True or False"),
    "precision": ({"precision": "fp8"}, "ieee, tf32"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_configurations_are_refused(name: str) -> None:
    config, message = BAD[name]
    with pytest.raises(attncc.ConfigError, match=message):
        attncc.attention(*tensors(), CAUSAL, backend="triton", config=config)


def test_every_choice_can_be_changed() -> None:
    default = KernelConfig.default("any", 64, 2)
    wanted = {name: {"precision": "tf32", "atomic": True}.get(name, 16) for name in names(default)}
    config = default.changed(wanted)
    assert (config.forward.block_m, config.key_gradient.num_warps, config.forward.item_tiles) == (16, 16, 16)
    assert (config.precision, config.atomic) == ("tf32", True)


def test_kernels_run_under_torch_compile() -> None:
    query, key, value = tensors()
    step = torch.compile(
        lambda q, k, v: attncc.attention(q, k, v, CAUSAL, backend="triton") * 2, backend="eager", fullgraph=True
    )
    wanted = attncc.attention(query, key, value, CAUSAL, backend="reference") * 2
    torch.testing.assert_close(step(query, key, value), wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("warn_only", [False, True])
def test_sums_in_no_fixed_order_warn_or_raise(warn_only: bool) -> None:
    leaves = [x.requires_grad_() for x in tensors()]
    torch.use_deterministic_algorithms(True, warn_only=warn_only)
    try:
        out = attncc.attention(*leaves, CAUSAL, backend="triton", config={"atomic": True})
        expected = pytest.warns(UserWarning, match="atomics") if warn_only else pytest.raises(attncc.BackendError)
        with expected:
            out.sum().backward()
    finally:
        torch.use_deterministic_algorithms(False)
