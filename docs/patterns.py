"""Four patterns side by side, the picture in README.md:

python docs/patterns.py

writes docs/patterns.png.
"""

from __future__ import annotations

from pathlib import Path

import attncc
from attncc.visualization.connectivity_png import save_gallery

PICTURE = Path(__file__).with_name("patterns.png")
#: Positions: as many as the picture has cells a side, so that each cell is a pair.
LENGTH = 128


def shown() -> list[attncc.Pattern]:
    """Return what is drawn, from left to right."""
    return [
        attncc.load("sliding_window", window=24),
        attncc.load("strided", l=12),
        attncc.load("fixed", l=16, c=3),
        attncc.load("prefix", length=32),
    ]


if __name__ == "__main__":
    save_gallery(shown(), LENGTH, PICTURE)
