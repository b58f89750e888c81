"""Places: tokens of all entries and rounds, sorted by bucket and laid end to end, and who sees whom there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

import attncc
from attncc import Condition, Index, ParameterError, Real, Table
from attncc_reformer import lsh

#: Rows of queries, of all entries and rounds, that are computed at a time, at least those of one round.
MOST_ROWS = 1 << 16


@attncc.pattern
def _near(i: Index, j: Index, *, queries: Table, keys: Table) -> Condition:
    """Keys in the query's chunk or in the one before it."""
    near: Condition = (keys[j] <= queries[i]) & (queries[i] <= keys[j] + 1)
    return near


@attncc.pattern
def _before(i: Index, j: Index) -> Condition:
    return j < i


@attncc.pattern
def _earlier(i: Index, j: Index, *, queries: Table, keys: Table) -> Condition:
    earlier: Condition = keys[j] < queries[i]
    return earlier


@attncc.pattern
def _other(i: Index, j: Index, *, queries: Table, keys: Table) -> Condition:
    other: Condition = keys[j] != queries[i]
    return other


@attncc.score
def _once(
    score: Real, i: Index, j: Index, *, queries: Table, keys: Table, rounds: int, places: int, look_back: bool
) -> Real:
    """A key that several rounds find counts once; the tables have a class of each round."""
    pairs = [(queries[r, i], keys[r, j]) for r in range(rounds)]
    finds = [(query >= key) & (query <= key + (1 if look_back else 0)) for query, key in pairs]
    if look_back:  # the first chunk of a round looks back at the last one of the round before
        finds += [queries[r, i] + (0 if r else places) == keys[(r - 1) % rounds, j] + 1 for r in range(rounds)]
    times = [attncc.where(found, 1.0, 0.0) for found in finds]
    return score - attncc.log(sum(times[1:], times[0]))


@dataclass(frozen=True, eq=False)
class Places:
    """Queries lie in the order (entries, rounds, N), each round's sorted by bucket, then by position.

    So do keys; before them stand those of the chunk that an entry's first chunk looks back at. Classes are numbers of
    chunks, or of buckets, of all entries and rounds; one number is left out between entries.

    Attributes:
        order: The token at each place, 0 to N - 1, (entries, rounds, N).
        classes: The class of each place, (entries, rounds, N).
        back: The tokens that an entry's first chunk looks back at, (entries, L); L = 0 where no chunk looks back.
        count: The classes of a round.
        exact: Whether classes are buckets.
    """

    order: Tensor
    classes: Tensor
    back: Tensor
    count: int
    exact: bool

    @classmethod
    def of(cls, buckets: Tensor, chunk: int | None) -> Places:
        """Return the places of tokens with these buckets, (rounds, entries, N), in chunks (None: of a bucket each)."""
        if chunk is not None and chunk < 1:
            raise ParameterError(
                f"chunk={chunk!r}.",
                rule="A chunk has at least one token; None is for exact buckets.",
                fix="Use chunk=64.",
            )
        rounds, entries, n = buckets.shape
        numbers, order = (x.transpose(0, 1) for x in buckets.sort(dim=-1, stable=True))
        if chunk is not None:
            numbers = (torch.arange(n, device=order.device) // chunk).expand(entries, rounds, n)
        count = 1 + (int(numbers.max()) if n else 0)
        first = torch.arange(entries, device=order.device).view(-1, 1, 1) * (rounds * count + 1) + 1
        classes = numbers + torch.arange(rounds, device=order.device).view(-1, 1) * count + first
        last = (count - 1) * chunk if chunk is not None and rounds * count > 1 else n
        return cls(order, classes, order[:, -1, last:], count, chunk is None)

    def parts(self) -> Iterator[Places]:
        """Yield the places of a few rounds at a time, at least one: results of many rows don't fit the caches."""
        entries, rounds, n = self.order.shape
        step = max(1, MOST_ROWS // max(1, entries * n))
        for first in range(0, rounds, step):
            few = slice(first, first + step)
            back = self.order[:, first - 1, n - self.back.shape[1] :]
            yield replace(self, order=self.order[:, few], classes=self.classes[:, few], back=back)

    def queries(self, x: Tensor) -> Tensor:
        """Return the rows of x (B, H, N, D) at the places of queries, (1, 1, rows, D)."""
        return _taken(x, self.order.flatten(1))

    def keys(self, x: Tensor) -> Tensor:
        """Return the rows of x (B, H, N, D) at the places of keys, (1, 1, rows, D)."""
        return _taken(x, self._key_order)

    def by_round(self, x: Tensor, like: Tensor) -> tuple[Tensor, ...]:
        """Return rows (1, 1, rows, D) at the places of queries as (B, H, N, D) for each round, as `like` is."""
        inverse = torch.empty_like(self.order).scatter_(-1, self.order, self._numbers.expand_as(self.order))
        entries, rounds, n = self.order.shape
        rows = x.view(entries, 1, rounds * n, -1)
        return tuple(_taken(rows, inverse[:, r] + r * n).view(*like.shape[:3], -1) for r in range(rounds))

    def pattern(self, *, causal: bool) -> attncc.Pattern:
        """Return who sees whom: keys of the class, or of the one before, that are of earlier, or of other, tokens."""
        classes = {"queries": self._table(self.classes), "keys": self._table(self._key_classes)}
        if self.exact and causal:
            return lsh(**classes) & _before()
        tokens = {"queries": self._table(self.order), "keys": self._table(self._key_order)}
        return (lsh if self.exact else _near)(**classes) & (_earlier if causal else _other)(**tokens)

    def of_tokens(self) -> Tensor:
        """Return the class of each token in each round, from 0 on in each entry, (entries, rounds, N)."""
        found = torch.empty_like(self.classes).scatter_(-1, self.order, self.classes)
        return found - self.classes[:, :1, :1]

    def once(self, of_tokens: Tensor) -> attncc.Score:
        """Return the score by which a key that several rounds find counts once, given the classes in all of these."""
        rounds = of_tokens.shape[1]
        at = (torch.take_along_dim(of_tokens, x.unsqueeze(1), 2) for x in (self.order.flatten(1), self._key_order))
        queries, keys = (Table(x.transpose(0, 1).reshape(rounds, -1)) for x in at)
        look_back = not self.exact
        return _once(queries=queries, keys=keys, rounds=rounds, places=rounds * self.count, look_back=look_back)

    @cached_property
    def _numbers(self) -> Tensor:
        return torch.arange(self.order.shape[-1], device=self.order.device)

    @cached_property
    def _key_order(self) -> Tensor:
        """The token at each place of a key, (entries, rows)."""
        return torch.cat([self.back, self.order.flatten(1)], 1)

    @cached_property
    def _key_classes(self) -> Tensor:
        """The class of each place of a key, (entries, rows)."""
        first = self.classes[:, 0, :1] - 1
        return torch.cat([first.expand(-1, self.back.shape[1]), self.classes.flatten(1)], 1)

    @staticmethod
    def _table(x: Tensor) -> Table:
        return Table(x.reshape(-1))


def _taken(x: Tensor, rows: Tensor) -> Tensor:
    """Return rows (entries, R) of x (B, H, N, D), those of all entries laid end to end, (1, 1, entries * R, D)."""
    first = torch.arange(len(rows), device=rows.device).unsqueeze(1) * x.shape[2]
    return x.reshape(-1, x.shape[-1]).index_select(0, (first + rows).reshape(-1)).view(1, 1, -1, x.shape[-1])
