"""Damage to files: bytes flipped, content cut off, doubled or replaced; determined by the number of the case."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

#: Flips per case of other damage.
FLIPS = 8


def cases(content: bytes, flips: int, shard: tuple[int, int]) -> Iterator[tuple[str, bytes]]:
    """Yield (what was done, damaged content) for the cases of a shard (k, n): the k-th of n, from 1."""
    others = (_cut, _doubled, _repeated, _swapped)
    kinds = [_flipped] * flips + [others[number % len(others)] for number in range(flips // FLIPS)]
    for number, kind in enumerate(kinds):
        if number % shard[1] == shard[0] - 1:
            yield f"case {number}, {kind.__name__[1:]}", kind(content, random.Random(number))


def put(path: Path, content: bytes) -> None:
    """Write a new file, so that caches notice the change."""
    temporary = path.with_name(f"{path.name}.damaged")
    temporary.write_bytes(content)
    os.replace(temporary, path)


def _flipped(content: bytes, draw: random.Random) -> bytes:
    """Change one byte, or now and then up to eight."""
    changed = bytearray(content)
    for _ in range(draw.choice((1, 1, 1, 1, 1, 1, 1, 8))):
        changed[draw.randrange(len(changed))] ^= draw.randrange(1, 256)
    return bytes(changed)


def _cut(content: bytes, draw: random.Random) -> bytes:
    return content[: draw.randrange(len(content))]


def _doubled(content: bytes, draw: random.Random) -> bytes:
    return content * 2


def _repeated(content: bytes, draw: random.Random) -> bytes:
    """Write a piece twice."""
    start, stop = sorted(draw.randrange(len(content) + 1) for _ in range(2))
    return content[:stop] + content[start:]


def _swapped(content: bytes, draw: random.Random) -> bytes:
    """Write other bytes over a piece, as a failing disk does with a block."""
    start = draw.randrange(len(content))
    piece = draw.randbytes(min(512, len(content) - start)) if draw.random() < 0.5 else bytes(512)
    return content[:start] + piece[: len(content) - start] + content[start + len(piece) :]
