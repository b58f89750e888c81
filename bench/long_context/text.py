"""Real text that every machine has: sources and documentation of Python's standard library, held out by file."""

from __future__ import annotations

import hashlib
import sysconfig
import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

SUFFIXES = {".py", ".txt", ".html"}
FOREIGN = {"site-packages", "dist-packages"}  # other packages, which differ between machines
HELD_OUT_SHARE = 20  # one file in 20 is held out
#: What every model is judged by: so many stretches of the held-out text, of so many bytes each.
STRETCHES, STRETCH = 16, 8192


@dataclass(frozen=True)
class Corpus:
    """Bytes to train on, and stretches of other files; uint8, (bytes,) and (STRETCHES, STRETCH)."""

    train: Tensor
    held_out: Tensor

    @property
    def digest(self) -> str:
        """Twelve digits that tell one standard library from another."""
        return hashlib.sha256(self.train.numpy().tobytes() + self.held_out.numpy().tobytes()).hexdigest()[:12]


@cache
def corpus() -> Corpus:
    """Read the standard library's text."""
    return read(Path(sysconfig.get_paths()["stdlib"]))


def read(root: Path) -> Corpus:
    """Read the text under a folder, each content once; a zero byte marks the end of a file."""
    names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.suffix in SUFFIXES)
    own = [name for name in names if FOREIGN.isdisjoint(name.split("/"))]
    contents = {content: name for name in reversed(own) if (content := (root / name).read_bytes())}
    parts: dict[bool, list[bytes]] = {False: [], True: []}
    for content, name in reversed(contents.items()):
        parts[zlib.crc32(name.encode()) % HELD_OUT_SHARE == 0].append(content)
    train, held_out = (torch.frombuffer(bytearray(b"\0".join(parts[kept])), dtype=torch.uint8) for kept in parts)
    starts = torch.linspace(0, len(held_out) - STRETCH, STRETCHES).long()
    return Corpus(train, held_out[starts[:, None] + torch.arange(STRETCH)])


def drawn(context: int, batch: int, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return windows to train on, and the byte that follows each of theirs; int64, (batch, context)."""
    text = corpus().train
    starts = torch.randint(len(text) - context, (batch,), generator=draw)
    return _shifted(text[starts[:, None] + torch.arange(context + 1)])


def held_out(context: int) -> tuple[Tensor, Tensor]:
    """Return the held-out stretches cut into windows: the same bytes for every context, each predicted once.

    A window begins with a zero byte, the end of a file, so that its first byte is predicted, too.
    """
    targets = corpus().held_out.view(-1, context)
    return _shifted(torch.nn.functional.pad(targets, (1, 0)))


def _shifted(rows: Tensor) -> tuple[Tensor, Tensor]:
    return rows[:, :-1].long(), rows[:, 1:].long()
