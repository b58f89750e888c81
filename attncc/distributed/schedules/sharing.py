"""Sharing: how ranks divide batch entries, heads and the sequence, and the steps of all of them together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from attncc.backends.inputs import Inputs
from attncc.distributed.schedules import traffic
from attncc.distributed.schedules.head_classes import localised
from attncc.distributed.schedules.partition import Partition
from attncc.distributed.schedules.schedule import Schedule
from attncc.distributed.schedules.traffic import Flow, Superstep, backward_steps, forward_steps
from attncc.errors import ConfigError
from attncc.ir.tables import Array


@dataclass(frozen=True)
class Sharing:
    """Ranks as batch x heads x parts x ulysses_degree, the last of which are neighbours.

    Ranks of different batch entries or heads send each other nothing. The `parts` of a sequence run a schedule; the
    tokens of a part are divided among `ulysses_degree` ranks, which swap sequence for heads before and after.
    """

    batch: int = 1
    heads: int = 1
    parts: int = 1
    ulysses_degree: int = 1

    @property
    def ranks(self) -> int:
        """Number of ranks."""
        return self.batch * self.heads * self.parts * self.ulysses_degree

    def check(self, inputs: Inputs) -> None:
        """Raise ConfigError unless batch entries and key heads can be divided so."""
        for name, total, by in (
            ("batch entries", inputs.batch, self.batch),
            ("key heads", inputs.kv_heads, self.heads * self.ulysses_degree),
        ):
            if total % by:
                raise ConfigError(
                    f"{total} {name} on {by} ranks.",
                    rule="They are divided into equal shares.",
                    fix="Use a mesh whose dimensions divide them.",
                )

    def local(self, inputs: Inputs) -> Inputs:
        """Return the sizes that a rank computes with."""
        by = self.heads * self.ulysses_degree
        batch, heads, kv_heads = inputs.batch // self.batch, inputs.heads // by, inputs.kv_heads // by
        return replace(inputs, batch=batch, heads=heads, kv_heads=kv_heads)

    def groups(self) -> Iterator[tuple[tuple[int, int], Array]]:
        """Yield (batch shard, heads shard) and the ranks, int64 (parts,), of each group that runs a schedule."""
        rank = np.arange(self.ranks).reshape(self.batch, self.heads, self.parts, self.ulysses_degree)
        for b, h, c in np.ndindex(self.batch, self.heads, self.ulysses_degree):
            yield (b, h * self.ulysses_degree + c), rank[b, h, :, c]

    def tokens(self, counts: Array) -> Array:
        """Return the tokens of each rank, int64 (ranks,), given those of each part."""
        share = np.arange(self.ulysses_degree)
        of_part = (counts[:, None] + self.ulysses_degree - 1 - share) // self.ulysses_degree
        return np.tile(of_part.reshape(-1), self.batch * self.heads)

    def positions(self, partition: Partition, rank: int) -> Array:
        """Return the positions of the tokens of a rank, ascending: a slice of those of its part."""
        part, share = divmod(rank % (self.parts * self.ulysses_degree), self.ulysses_degree)
        ends = np.cumsum(self.tokens(partition.counts)[part * self.ulysses_degree :][: share + 1])
        return partition.tokens(part)[ends[-2] if share else 0 : ends[-1]]


def possible_sharings(ranks: int, kv_heads: int, batch: int = 1, heads: int = 1) -> list[Sharing]:
    """Return the ways in which `ranks` ranks may share a sequence on a mesh, by ascending Ulysses degree."""
    divisors = (u for u in range(1, ranks + 1) if ranks % u == 0 and kv_heads % (heads * u) == 0)
    return [Sharing(batch, heads, ranks // u, u) for u in divisors]


def steps(
    schedule: Schedule, inputs: Inputs, sharing: Sharing, direction: str, lse: int = 0, max_score: int = 0
) -> list[Superstep]:
    """Return the supersteps of all ranks in a direction, `forward` or `backward`; the schedule is for the whole inputs.

    Args:
        lse: Bytes of one that is swapped back with the results, 0 where the caller doesn't want it.
        max_score: Bytes of a row's greatest score, which has no gradient; 0 where the caller doesn't want it.
    """
    local, is_forward = sharing.local(inputs), direction == "forward"
    make = partial(forward_steps, max_score=max_score) if is_forward else backward_steps
    groups = [(make(own, local), ranks) for own, ranks in _groups(schedule, local, sharing)]
    merged = _merged(groups, sharing.ranks)
    if sharing.ulysses_degree == 1:
        return merged
    there, back = _swapped(schedule, inputs, sharing, lse + max_score * is_forward)
    first, last = (there, back) if is_forward else (back.reversed(), there.reversed())
    return [_moving(first, sharing), *merged, _moving(last, sharing)]


def kept(schedule: Schedule, inputs: Inputs, sharing: Sharing) -> Array:
    """Return the bytes of rows of other ranks that each rank keeps for its backward, int64 (ranks,)."""
    local, total = sharing.local(inputs), np.zeros(sharing.ranks, np.int64)
    for own, ranks in _groups(schedule, local, sharing):
        total[ranks] = traffic.kept(own, local)
    return total


def _groups(schedule: Schedule, local: Inputs, sharing: Sharing) -> Iterator[tuple[Schedule, Array]]:
    """Yield the schedule of each group of ranks that runs one, and the ranks."""
    for (b, h), ranks in sharing.groups():
        yield localised(schedule, _range(b, local.batch), _range(h, local.kv_heads)), ranks


def _range(shard: int, size: int) -> range:
    return range(shard * size, (shard + 1) * size)


def _merged(groups: Sequence[tuple[list[Superstep], Array]], count: int) -> list[Superstep]:
    """Return the steps of groups of ranks, side by side, as steps of all ranks."""
    merged = []
    for number in range(max(len(steps) for steps, _ in groups)):
        work, tasks, flows = np.zeros(count), np.zeros(count, np.int64), list[Flow]()
        group = np.zeros(count, np.int64)
        for which, (steps, ranks) in enumerate(groups):
            group[ranks] = which
            if number < len(steps):
                step = steps[number]
                work[ranks], tasks[ranks] = step.work, step.tasks
                flows.append(step.flow.among(ranks))
        merged.append(Superstep(work, tasks, Flow.together(flows), group))
    return merged


def _swapped(schedule: Schedule, inputs: Inputs, sharing: Sharing, lse: int) -> tuple[Flow, Flow]:
    """Return the swaps of a forward: queries, keys and values there; results back, with `lse` bytes of a row's."""
    local = sharing.local(inputs)
    keys = local.kv_heads * (local.head_dim + local.value_dim)
    there = local.itemsize * (local.heads * local.head_dim + keys)
    back = local.heads * (local.itemsize * local.value_dim + lse)
    return (
        _all_to_all(schedule, sharing, local.batch * there, to_heads=True),
        _all_to_all(schedule, sharing, local.batch * back, to_heads=False),
    )


def _all_to_all(schedule: Schedule, sharing: Sharing, row: int, *, to_heads: bool) -> Flow:
    """Return the flow between ranks of a part, for each token `row` bytes to, or from, each other rank."""
    rank = np.arange(sharing.ranks)
    owner = np.repeat(rank, sharing.ulysses_degree)
    other = owner - owner % sharing.ulysses_degree + np.arange(len(owner)) % sharing.ulysses_degree
    size = sharing.tokens(schedule.partition.counts)[owner] * row
    kept = (owner != other) & (size > 0)
    ends = (owner[kept], other[kept]) if to_heads else (other[kept], owner[kept])
    return Flow(*ends, size[kept])


def _moving(flow: Flow, sharing: Sharing) -> Superstep:
    ranks = sharing.ranks
    return Superstep(np.zeros(ranks), np.zeros(ranks, np.int64), flow, np.arange(ranks) // sharing.ulysses_degree)
