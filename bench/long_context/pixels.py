"""Pixels of the two photographs that scikit-learn ships, channel by channel in raster order; held out by region."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from .training import Rows

CHANNELS = 3
#: Crops in a row or column of the held-out part.
HELD_OUT_CROPS = 6


@cache
def photographs() -> tuple[tuple[Tensor, Tensor], ...]:
    """Return the left three quarters of each photograph, to train on, and the rest; uint8 (height, width, 3)."""
    from sklearn.datasets import load_sample_images

    found = []
    for each in load_sample_images().images:
        photograph = torch.from_numpy(each.copy())
        cut = photograph.shape[1] * 3 // 4
        found.append((photograph[:, :cut], photograph[:, cut:]))
    return tuple(found)


def side(context: int) -> int:
    """Return the height and width of the square crop that has so many channels of pixels."""
    found = int((context // CHANNELS) ** 0.5)
    assert found**2 * CHANNELS == context, f"{context} isn't three times a square"
    return found


def places(context: int) -> list[Tensor]:
    """Return the row, the column and the channel of each token of a crop."""
    size = side(context)
    token = torch.arange(context)
    return [token // (size * CHANNELS), token // CHANNELS % size, token % CHANNELS]


def drawn(context: int, batch: int, draw: torch.Generator) -> Rows:
    """Return crops of the photographs' left parts; a token is the channel before its target, the first is 0."""
    size, crops = side(context), []
    for _ in range(batch):
        photograph, _ = photographs()[int(torch.randint(2, (), generator=draw))]
        top, left = (int(torch.randint(n - size + 1, (), generator=draw)) for n in photograph.shape[:2])
        crops.append(photograph[top : top + size, left : left + size])
    return _shifted(torch.stack(crops))


def held_out(context: int) -> Rows:
    """Return crops of the right parts, on a grid; the same for all models."""
    size, crops = side(context), []
    for _, photograph in photographs():
        tops, lefts = (torch.linspace(0, n - size, HELD_OUT_CROPS).long().tolist() for n in photograph.shape[:2])
        crops += [photograph[top : top + size, left : left + size] for top in tops for left in lefts[::3]]
    return _shifted(torch.stack(crops))


def _shifted(crops: Tensor) -> Rows:
    targets = crops.reshape(len(crops), -1).long()
    return torch.nn.functional.pad(targets, (1, 0))[:, :-1], targets
