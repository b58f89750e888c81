"""The layers of attncc as a picture, drawn from the import contracts in pyproject.toml and the modules' first lines:

python docs/layers.py

writes docs/layers.svg; tests/test_house.py fails while the file differs.
"""

from __future__ import annotations

import ast
import re
import tomllib
from html import escape
from pathlib import Path

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "layers.svg"
#: Pixels: of the picture, of a layer, and between layers.
WIDTH, HEIGHT, GAP = 960, 40, 8


def layers() -> list[list[str]]:
    """Return the modules of each layer, the highest first."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    [found] = [contract["layers"] for contract in contracts if contract.get("containers") == ["attncc"]]
    return [layer.split(" | ") for layer in found]


def caption(module: str) -> str:
    """Return the first line of a module's docstring up to its colon or full stop."""
    path = ROOT / "attncc" / module
    source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    text = ast.get_docstring(ast.parse(source.read_text("utf-8"))) or ""
    return re.split(r"[.:;]( |$)", text.split("\n")[0])[0].replace("`", "")


def picture() -> str:
    """Return the SVG: one row a layer; a module may import those in the rows below it."""
    rows = layers()
    height = len(rows) * (HEIGHT + GAP) + GAP
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" font-family="sans-serif">']
    for number, modules in enumerate(rows):
        width, top = (WIDTH - GAP) / len(modules), GAP + number * (HEIGHT + GAP)
        for column, module in enumerate(modules):
            left = GAP + column * width
            parts += [
                f'<rect x="{left:g}" y="{top}" width="{width - GAP:g}" height="{HEIGHT}" rx="4" fill="#eef3fa" '
                'stroke="#5b7db1"/>',
                f'<text x="{left + 10:g}" y="{top + 17}" font-size="14" font-weight="bold">{escape(module)}</text>',
                f'<text x="{left + 10:g}" y="{top + 33}" font-size="11">{escape(caption(module))}</text>',
            ]
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    PICTURE.write_text(picture(), encoding="utf-8")
