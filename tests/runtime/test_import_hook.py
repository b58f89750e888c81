"""Importing attncc and torch, in either order, registers the operators and imports nothing else."""

from __future__ import annotations

import subprocess
import sys

import pytest

REPORT = """
import importlib.util
found = torch.ops.attncc.general_attention.default, torch.ops.attncc.attention.default
loaded = {"attncc.runtime.operators", "attncc.runtime.api", "sympy", "torch._dynamo"} & sys.modules.keys()
hooks = [finder for finder in sys.meta_path if type(finder).__module__.startswith("attncc")]
loader = torch.__spec__.loader
print(loaded, hooks, "exec_module" in vars(loader), type(loader).__name__)
"""
ORDERS = {
    "torch first": "import sys, torch, attncc",
    "attncc first": "import sys, attncc, torch",
    "torch looked for": "import sys, attncc, importlib.util; importlib.util.find_spec('torch'); import torch",
}


@pytest.mark.parametrize("order", ORDERS)
def test_operators_are_registered_in_either_order(order: str) -> None:
    command = [sys.executable, "-c", ORDERS[order] + REPORT]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert found.split() == ["set()", "[]", "False", "SourceFileLoader"]


def test_missing_torch_still_fails_to_import() -> None:
    program = (
        "import sys, attncc\n"
        "sys.path[:] = []\n"
        "try:\n"
        "    import torch\n"
        "except ModuleNotFoundError as error:\n"
        "    print(error)\n"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert found.strip() == "No module named 'torch'"
