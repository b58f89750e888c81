"""Tasks that need a far token: copying, associative recall, and ListOps, generated from a seed.

A row of copying or recall is noise, with a part that is asked for later. Which distance lies between is drawn for each
row, so that a model learns all of them, and is judged for each.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn.functional import pad

from .training import IGNORED, Rows

#: Symbols that a row of copying asks for, and the most keys that a row of recall does.
ASKED, PAIRS = 8, 24
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
    """Return rows of keys with values, each of which comes again `distance` later (Arora et al. 2023, section 3).

    Pairs stand at even places of the noise, which values look like; as many as there is room for.
    """
    chance = random.Random(int(torch.randint(1 << 62, (), generator=draw)))
    tokens = _drawn(0, NOISE, (rows, context + 1), draw)
    targets = torch.full_like(tokens, IGNORED)
    for row in range(rows):
        keys = chance.sample(range(NOISE, NOISE + SYMBOLS), PAIRS)
        for key, first in zip(keys, _places(context, distance, chance), strict=False):
            again = first + distance
            tokens[row, [first, again]] = key
            tokens[row, again + 1] = targets[row, again + 1] = tokens[row, first + 1]
    return tokens[:, :-1], targets[:, 1:]


def _places(context: int, distance: int, chance: random.Random) -> Iterator[int]:
    """Yield even places that, with those `distance` later, are apart from all others."""
    free = set(range(0, context - 1, 2))
    for first in chance.sample(sorted(free), len(free)):
        if {first, first + distance} <= free:
            free -= {first, first + distance}
            yield first


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
    """Return expressions of half to all of `length` tokens (Nangia and Bowman 2018); each list is asked for at its end.

    The whole expression's end is the last token.
    """
    tokens = torch.full((rows, context), PADDING)
    targets = torch.full((rows, context), IGNORED)
    chance = random.Random(int(torch.randint(1 << 62, (), generator=draw)))
    for row in range(rows):
        expression, values = _expression(length // 2, length, chance)
        tokens[row, -len(expression) :] = torch.tensor(expression)
        targets[row, -len(expression) :] = torch.tensor(values)
    return tokens, targets


def whole(task: Task) -> Task:
    """Return a task that asks for no more than the last token of each row."""

    def asked(context: int, rows: int, distance: int, draw: torch.Generator) -> Rows:
        tokens, targets = task(context, rows, distance, draw)
        targets[:, :-1] = IGNORED
        return tokens, targets

    return asked


def _expression(least: int, most: int, chance: random.Random) -> tuple[list[int], list[int]]:
    """Return an expression of `least` to `most` tokens, and the value of each list at its end, else IGNORED."""
    while True:
        tokens: list[int] = []
        values: list[int] = []
        if _list(tokens, values, most, 0, chance) is not None and least <= len(tokens):
            return tokens, values


def _list(tokens: list[int], values: list[int], most: int, depth: int, chance: random.Random) -> int | None:
    """Append a list and return its value; None if it takes more than `most` tokens."""
    operation, entries = chance.randrange(len(OPERATIONS)), chance.randint(2, MOST_ENTRIES)
    tokens.append(10 + operation)
    found = []
    for _ in range(entries):
        if len(tokens) >= most:
            return None
        if depth < DEPTH and chance.random() < NESTED:
            value = _list(tokens, values, most, depth + 1, chance)
            if value is None:
                return None
        else:
            value = chance.randrange(10)
            tokens.append(value)
        found.append(value)
    tokens.append(CLOSE)
    values += [IGNORED] * (len(tokens) - len(values) - 1) + [OPERATIONS[operation](found)]
    return values[-1] if len(tokens) <= most else None


def _drawn(first: int, end: int, shape: tuple[int, ...], draw: torch.Generator) -> Tensor:
    return torch.randint(first, end, shape, generator=draw)
