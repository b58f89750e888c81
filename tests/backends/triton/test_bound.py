"""Bound launches equal those that Triton would choose."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("launching.py")


@pytest.mark.parametrize("arguments", [["causal"], pytest.param(["strided", "t5"], marks=pytest.mark.slow)])
def test_bound_launches_are_those_that_triton_chooses(arguments: list[str]) -> None:
    environment = {name: text for name, text in os.environ.items() if name != "TRITON_INTERPRET"}
    subprocess.run([sys.executable, str(PROGRAM), *arguments], env=environment, check=True, timeout=280)
