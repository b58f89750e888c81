"""Lines: the channels of a rank, along each dimension of a mesh, within its part of the sequence, and between parts."""

from __future__ import annotations

import weakref

import torch
import torch.distributed as dist

from attncc.distributed.execution.channel import Channel, told
from attncc.distributed.execution.mesh import Grid
from attncc.distributed.execution.sizes import Sizes, check_alike, check_same_weights
from attncc.runtime.held_scores import HeldScore

Groups = tuple[dist.ProcessGroup, dist.ProcessGroup]

#: Of each group that shares a sequence, by how many ranks swap: that of this rank's part, and that between parts.
_made: weakref.WeakKeyDictionary[dist.ProcessGroup, dict[int, Groups]] = weakref.WeakKeyDictionary()


class Lines:
    """The channels of a rank of a mesh, each exchange on them within `timeout` seconds, or the group's own limit.

    spread: neighbours of the sequence that swap it for heads. dims: by dimension of the mesh. within: between those
    neighbours, between: to the ranks of other parts that have the same share of heads; None where a rank is alone, or
    before `open`.
    """

    def __init__(self, grid: Grid, spread: int, timeout: float | None) -> None:
        self.dims = {dim: Channel(group, timeout) for dim, group in grid.groups.items()}
        self._compared: set[Sizes] = set()
        self._weighed: weakref.WeakSet[HeldScore] = weakref.WeakSet()
        self.within: Channel | None = None
        self.between: Channel | None = None
        self._spread, self._timeout, self._device = spread, timeout, grid.device

    def compare(self, sizes: Sizes) -> None:
        """Raise DistributedError on every rank of a sequence unless all have these sizes. Collective when they are new.

        An exchange of unequal ones isn't refused by every process group: gloo leaves rows unwritten.
        """
        if "sequence" in self.dims and sizes not in self._compared:
            check_alike(sizes, self.dims["sequence"], self._device)
            self._compared.add(sizes)

    def compare_weights(self, score: HeldScore) -> None:
        """Raise DistributedError on every rank of the mesh unless all have these weights. Collective.

        Those that were compared already aren't again: ranks change them alike.
        """
        if score not in self._weighed:
            check_same_weights(score().weights, list(self.dims.values()), self._device)
            self._weighed.add(score)

    def open(self) -> None:
        """Make the groups of neighbours, or take those that there are. Collective, for all ranks of the world."""
        whole = self.dims.get("sequence")
        if self._spread == 1 or whole is None:
            self.between = whole
        elif self._spread == whole.ranks:
            self.within = whole
        else:
            within, between = _parted(whole, self._spread, self._device)
            self.within, self.between = Channel(within, self._timeout), Channel(between, self._timeout)


def _parted(whole: Channel, spread: int, device: torch.device) -> Groups:
    """Return this rank's group of `spread` neighbours, and that of the ranks with its number among theirs."""
    known = _made.setdefault(whole.group, {})
    if spread not in known:
        world = Channel(dist.distributed_c10d._get_default_group())
        sequences = _sequences(world, whole, device)
        with world.guard("the making of groups of neighbours"):
            within = _own(
                [ranks[at : at + spread] for ranks in sequences for at in range(0, len(ranks), spread)], whole
            )
            between = _own([ranks[at::spread] for ranks in sequences for at in range(spread)], whole)
        known[spread] = within, between
    return known[spread]


def _sequences(world: Channel, whole: Channel, device: torch.device) -> list[list[int]]:
    """Return the ranks of every group that shares a sequence, in its order."""
    first = dist.get_process_group_ranks(whole.group)[0]
    own = [first, whole.group.rank(), dist.get_rank()]
    found: dict[int, list[int]] = {}
    for first, _, rank in told(own, [world], device, "the making of groups of neighbours"):
        found.setdefault(first, []).append(rank)
    return list(found.values())


def _own(members: list[list[int]], whole: Channel) -> dist.ProcessGroup:
    """Make groups, on all ranks in one order as torch.distributed asks, and return the one that this rank is in."""
    groups = [dist.new_group(ranks, timeout=whole.limit) for ranks in members]
    own: dist.ProcessGroup = next(
        group for ranks, group in zip(members, groups, strict=True) if dist.get_rank() in ranks
    )
    return own
