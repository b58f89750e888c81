"""Communicators: the mesh of ranks as one of them sees it, and its channels along each dimension."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh

from attncc.distributed.execution.agreement import CallSizes, check_same_sizes, check_same_weights
from attncc.distributed.execution.channel import Channel, gathered_rows
from attncc.errors import DistributedError
from attncc.runtime.score_module import ScoreModule

#: What ranks may share, in the order in which tensors have it.
DIMS = ("batch", "heads", "sequence")

#: The group of a rank's neighbours, and that of the ranks with its number among theirs.
Groups = tuple[dist.ProcessGroup, dist.ProcessGroup]

#: By the group that shares a sequence, and by the Ulysses degree.
_made: weakref.WeakKeyDictionary[dist.ProcessGroup, dict[int, Groups]] = weakref.WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class RankMesh:
    """The mesh as one of its ranks sees it: by dimension, the number of shards, its own shard, and the group of all.

    Attributes are by the names of DIMS that the mesh has.
    """

    sizes: Mapping[str, int]
    at: Mapping[str, int]
    groups: Mapping[str, dist.ProcessGroup]

    @classmethod
    def of(cls, mesh: DeviceMesh | None, group: dist.ProcessGroup | None) -> RankMesh:
        """Return where this rank stands in a mesh, or in a group (by default all ranks) that shares the sequence.

        Raises DistributedError where there are no ranks yet, and for a mesh of other dimensions or another world.
        """
        if not dist.is_available() or not dist.is_initialized():
            raise DistributedError(
                "torch.distributed isn't initialised.",
                rule="attncc.distributed runs on the ranks of a process group.",
                fix="Start it with torchrun, and call torch.distributed.init_process_group first.",
            )
        if mesh is not None and group is not None:
            raise DistributedError(
                "Both mesh and group are given.", rule="A mesh has groups of its own.", fix="Leave one of them out."
            )
        if mesh is None:
            chosen = dist.group.WORLD if group is None else group
            if not isinstance(chosen, dist.ProcessGroup):
                raise DistributedError(
                    f"group={group!r}.",
                    rule="It is a process group that this rank is in.",
                    fix="Call it on the ranks of the group only, or leave group out.",
                )
            return cls({"sequence": chosen.size()}, {"sequence": chosen.rank()}, {"sequence": chosen})
        _check_mesh(mesh)
        names = mesh.mesh_dim_names or ()
        return cls(
            {name: mesh.size(number) for number, name in enumerate(names)},
            {name: mesh.get_local_rank(name) for name in names},
            {name: mesh.get_group(name) for name in names},
        )

    def size(self, dim: str) -> int:
        """Number of shards of a dimension."""
        return self.sizes.get(dim, 1)

    def shard(self, dim: str) -> int:
        """The number of this rank's shard."""
        return self.at.get(dim, 0)

    def ranks(self, dim: str) -> list[int]:
        """Return the numbers in the world of the ranks that this one shares a dimension with, itself among them."""
        return dist.get_process_group_ranks(self.groups[dim]) if dim in self.groups else [dist.get_rank()]

    def part(self, dim: str, total: int) -> range:
        """Return the batch entries, or heads, of this rank's shard; raises DistributedError if they don't divide."""
        size, shard = self.size(dim), self.shard(dim)
        if total % size:
            raise DistributedError(
                f"{total} {dim} on {size} ranks of the mesh.",
                rule=f"The ranks of {dim!r} have equally many each.",
                fix="Use a mesh whose dimension divides them.",
            )
        return range(total // size * shard, total // size * (shard + 1))

    @property
    def device(self) -> torch.device:
        """The device on which the groups exchange small tensors; raises DistributedError if they were destroyed."""
        try:
            on_gpu = any(dist.get_backend(group) == "nccl" for group in self.groups.values())
        except ValueError as error:
            raise DistributedError(
                f"The process group was destroyed: {error}",
                rule="An attention exchanges on the groups that it was compiled for.",
                fix="Compile it again for those that there are now.",
            ) from error
        return torch.device("cuda", torch.cuda.current_device()) if on_gpu else torch.device("cpu")

    def __str__(self) -> str:
        return " x ".join(f"{self.size(dim)} {dim}" for dim in DIMS if dim in self.sizes)


class Communicators:
    """The channels of a rank of a mesh, each exchange on them within `timeout` seconds, or the group's own limit.

    Attributes:
        dims: By dimension of the mesh.
        within: Between neighbours that swap their sequence for heads; None where a rank is alone, or before `open`.
        between: To the ranks of other parts that have the same share of heads; None as `within` is.
    """

    def __init__(self, mesh: RankMesh, timeout: float | None) -> None:
        self.dims = {dim: Channel(group, timeout) for dim, group in mesh.groups.items()}
        self._compared: set[CallSizes] = set()
        self._weighed: weakref.WeakSet[ScoreModule] = weakref.WeakSet()
        self.within: Channel | None = None
        self.between: Channel | None = None
        self._timeout, self._device = timeout, mesh.device

    def compare(self, sizes: CallSizes) -> None:
        """Raise DistributedError on every rank of a sequence unless all have these sizes. Collective when they are new.

        An exchange of unequal ones isn't refused by every process group: gloo leaves rows unwritten.
        """
        if "sequence" in self.dims and sizes not in self._compared:
            check_same_sizes(sizes, self.dims["sequence"], self._device)
            self._compared.add(sizes)

    def compare_weights(self, score: ScoreModule) -> None:
        """Raise DistributedError on every rank of the mesh unless all have these weights. Collective.

        Those that were compared already aren't again: ranks change them alike.
        """
        if score not in self._weighed:
            check_same_weights(score().weights, list(self.dims.values()), self._device)
            self._weighed.add(score)

    def open(self, ulysses_degree: int) -> None:
        """Make the groups of `ulysses_degree` neighbours, or take those that there are. Collective, for all ranks."""
        whole = self.dims.get("sequence")
        if ulysses_degree == 1 or whole is None:
            self.between = whole
        elif ulysses_degree == whole.ranks:
            self.within = whole
        else:
            within, between = _parted(whole, ulysses_degree, self._device)
            self.within, self.between = Channel(within, self._timeout), Channel(between, self._timeout)


def _parted(whole: Channel, degree: int, device: torch.device) -> Groups:
    """Return the groups of this rank where `degree` neighbours swap sequence for heads; they are made once."""
    made = _made.setdefault(whole.group, {})
    if degree not in made:
        world = Channel(dist.distributed_c10d._get_default_group())
        sequences = _sequences(world, whole, device)
        neighbours = [ranks[at : at + degree] for ranks in sequences for at in range(0, len(ranks), degree)]
        peers = [ranks[at::degree] for ranks in sequences for at in range(degree)]
        with world.guard("the making of groups of neighbours"):
            made[degree] = _own_group(neighbours, whole), _own_group(peers, whole)
    return made[degree]


def _sequences(world: Channel, whole: Channel, device: torch.device) -> list[list[int]]:
    """Return the ranks of every group that shares a sequence, in its order."""
    first = dist.get_process_group_ranks(whole.group)[0]
    own = [first, whole.group.rank(), dist.get_rank()]
    found: dict[int, list[int]] = {}
    for first, _, rank in gathered_rows(own, [world], device, "the making of groups of neighbours"):
        found.setdefault(first, []).append(rank)
    return list(found.values())


def _own_group(members: list[list[int]], whole: Channel) -> dist.ProcessGroup:
    """Make groups, on all ranks in one order as torch.distributed asks, and return the one that this rank is in."""
    groups = [dist.new_group(ranks, timeout=whole.limit) for ranks in members]
    own: dist.ProcessGroup = next(
        group for ranks, group in zip(members, groups, strict=True) if dist.get_rank() in ranks
    )
    return own


def _check_mesh(mesh: DeviceMesh) -> None:
    if not isinstance(mesh, DeviceMesh):
        raise DistributedError(
            f"mesh is a {type(mesh).__name__}.",
            rule="It is a torch DeviceMesh.",
            fix="Make one with torch.distributed.device_mesh.init_device_mesh.",
        )
    names = mesh.mesh_dim_names or ()
    if not names or not set(names) <= set(DIMS):
        raise DistributedError(
            f"The dimensions of the mesh are {mesh.mesh_dim_names}.",
            rule=f"They are among {', '.join(DIMS)}.",
            fix='Name them: init_device_mesh("cuda", (2, 4), mesh_dim_names=("heads", "sequence")).',
        )
    whole, world = mesh._get_root_mesh().size(), dist.get_world_size()
    if whole != world or mesh.get_coordinate() is None:
        raise DistributedError(
            f"The mesh has {whole} ranks, the world {world}; this is rank {dist.get_rank()}.",
            rule="Every rank of the world is in the mesh, or in the one that it is a slice of.",
            fix=f"Make one of all {world} ranks with init_device_mesh, and slice it.",
        )
