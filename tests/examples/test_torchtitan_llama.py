"""The example trains torchtitan's Llama with attncc's attention."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torchtitan")

EXAMPLE = Path(__file__).parents[2] / "examples" / "torchtitan_llama.py"


def test_the_loss_falls() -> None:
    found = subprocess.run([sys.executable, str(EXAMPLE), "--quick"], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    [(begun, trained)] = re.findall(r"Llama 3: (\S+) -> (\S+)", found.stdout)
    assert float(trained) < float(begun) - 0.2
