"""Tasks that need a far token: copying, associative recall, and ListOps, generated from a seed.

A row of copying or recall is noise, with a part that is asked for later. Which distance lies between is drawn for each
row, so that a model learns all of them, and is judged for each.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import pad

from .training import IGNORED, Rows

#: What a row of copying or recall asks for: so many symbols, or pairs of a key and a value.
ASKED = 8
#: From a symbol to where it is asked for.
DISTANCES = (16, 32, 64, 128, 256, 448)
#: Tokens 0 to 31 are noise, 32 to 61 symbols.
NOISE, SYMBOLS, BEGIN, ASK, VOCABULARY = 32, 30, 62, 63, 64

#: (context, rows, distance, generator) -> rows.
Task = Callable[[int, int, int, torch.Generator], Rows]


def copying(context: int, rows: int, distance: int, draw: torch.Generator) -> Rows:
    """Return rows that repeat eight symbols, `distance` later (Graves et al. 2014, section 4.1)."""
    symbols = _drawn(NOISE, NOISE + SYMBOLS, (rows, ASKED), draw)
    asked = torch.ones(ASKED, dtype=torch.bool)
    return _placed(context, distance, symbols, symbols, asked, draw)


def recall(context: int, rows: int, distance: int, draw: torch.Generator) -> Rows:
    """Return rows of four keys with values, whose keys come again in another order (Ba et al. 2016, section 4.1)."""
    keys = torch.stack([torch.randperm(SYMBOLS // 2, generator=draw)[: ASKED // 2] for _ in range(rows)]) + NOISE
    values = _drawn(NOISE + SYMBOLS // 2, NOISE + SYMBOLS, keys.shape, draw)
    pairs = torch.stack([keys, values], -1)
    order = torch.stack([torch.randperm(ASKED // 2, generator=draw) for _ in range(rows)])
    again = pairs.take_along_dim(order[..., None], 1)
    asked = torch.arange(ASKED) % 2 == 1  # the values
    return _placed(context, distance, pairs.flatten(1), again.flatten(1), asked, draw)


def _placed(context: int, distance: int, first: Tensor, again: Tensor, asked: Tensor, draw: torch.Generator) -> Rows:
    """Return rows of noise with BEGIN and `first`, and, `distance` later, ASK and `again`."""
    rows, n = len(first), ASKED + 1
    tokens = _drawn(0, NOISE, (rows, context + 1), draw)
    starts = torch.randint(context - distance - n + 1, (rows, 1), generator=draw)
    here = starts + torch.arange(n)
    tokens.scatter_(1, here, pad(first, (1, 0), value=BEGIN))
    tokens.scatter_(1, here + distance, pad(again, (1, 0), value=ASK))
    targets = torch.full_like(tokens, IGNORED)
    targets.scatter_(1, here[:, 1:][:, asked] + distance, again[:, asked])
    return tokens[:, :-1], targets[:, 1:]


#: The tokens of ListOps: ten digits, four operations, the end of a list, and padding.
OPERATIONS: tuple[Callable[[list[int]], int], ...] = (
    max,
    min,
    lambda found: sorted(found)[len(found) // 2],  # the upper median
    lambda found: sum(found) % 10,
)
CLOSE, PADDING, LISTOPS_VOCABULARY = 14, 15, 16
#: A list has two to so many entries, each a list with this chance, and lies at most so deep.
MOST_ENTRIES, NESTED, DEPTH = 6, 0.3, 8


def listops(context: int, rows: int, length: int, draw: torch.Generator) -> Rows:
    """Return expressions of half to all of `length` tokens, to be evaluated at their end (Nangia and Bowman 2018)."""
    tokens = torch.full((rows, context), PADDING)
    targets = torch.full((rows, context), IGNORED)
    chance = random.Random(int(torch.randint(1 << 62, (), generator=draw)))
    for row in range(rows):
        expression, value = _expression(length // 2, length, chance)
        tokens[row, -len(expression) :] = torch.tensor(expression)
        targets[row, -1] = value
    return tokens, targets


def _expression(least: int, most: int, chance: random.Random) -> tuple[list[int], int]:
    while True:
        tokens: list[int] = []
        value = _list(tokens, most, 0, chance)
        if value is not None and least <= len(tokens):
            return tokens, value


def _list(tokens: list[int], most: int, depth: int, chance: random.Random) -> int | None:
    """Append a list and return its value; None if it takes more than `most` tokens."""
    operation, entries = chance.randrange(len(OPERATIONS)), chance.randint(2, MOST_ENTRIES)
    tokens.append(10 + operation)
    found = []
    for _ in range(entries):
        if len(tokens) >= most:
            return None
        if depth < DEPTH and chance.random() < NESTED:
            value = _list(tokens, most, depth + 1, chance)
            if value is None:
                return None
        else:
            value = chance.randrange(10)
            tokens.append(value)
        found.append(value)
    tokens.append(CLOSE)
    return OPERATIONS[operation](found) if len(tokens) <= most else None


def _drawn(first: int, end: int, shape: tuple[int, ...], draw: torch.Generator) -> Tensor:
    return torch.randint(first, end, shape, generator=draw)
