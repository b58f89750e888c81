"""Load the exports of test_export.py in a separate process; print the error of each."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import attncc

assert "torch" not in sys.modules
import torch  # noqa: E402  # after attncc, which then registers its operators

FOLDER = Path(sys.argv[1])


def call(file: Path):
    """Return what a file holds as a function."""
    match file.stem.split("-")[1]:
        case "traced":
            return torch.jit.load(file)
        case "compiled":
            return torch._inductor.aoti_load_package(str(file))
        case _:
            return torch.export.load(file).module()


def distance(file: Path) -> float:
    found = call(file)
    expected = torch.load(FOLDER / f"{file.stem.split('-')[0]}.values")
    return max(float((found(x) - out).abs().max()) for x, out in expected)


for reach in range(4):  # other patterns exist here already
    attncc.load("sliding_window", window=reach + 1)
files = [FOLDER / name for name in sys.argv[2:]]
print(json.dumps({file.name: distance(file) for file in files}))
