"""The example trains under the model's own mask, and trains on under a pattern."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("transformers", minversion="5.0")

EXAMPLE = Path(__file__).parents[2] / "examples" / "finetune_transformers.py"


def test_losses_fall_under_both_patterns() -> None:
    found = subprocess.run([sys.executable, str(EXAMPLE), "--quick"], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    losses = {name: (float(a), float(b)) for name, a, b in re.findall(r"(\S+): (\S+) -> (\S+)", found.stdout)}
    assert list(losses) == ["attncc", "attncc:strided(l=16)"]
    (begun, trained), (_, healed) = losses.values()
    assert trained < begun - 0.2
    assert healed < trained
