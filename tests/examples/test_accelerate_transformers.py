"""The example trains by Accelerate's loop."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("transformers", minversion="5.0")
pytest.importorskip("accelerate")

EXAMPLE = Path(__file__).parents[2] / "examples" / "accelerate_transformers.py"


def test_the_loss_falls() -> None:
    found = subprocess.run([sys.executable, str(EXAMPLE), "--quick"], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    [(begun, trained)] = re.findall(r"attncc:strided\(l=16\), 1 processes: (\S+) -> (\S+)", found.stdout)
    assert float(trained) < float(begun) - 0.2
