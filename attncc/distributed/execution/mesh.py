"""Meshes: how the ranks of a world share batch entries, heads and the sequence, and where this one stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh

from attncc.errors import DistributedError

#: What ranks may share, in the order in which tensors have it.
DIMS = ("batch", "heads", "sequence")


@dataclass(frozen=True, eq=False)
class Grid:
    """Of each shared dimension: into how many shards it is cut, which one is this rank's, and the group of all."""

    sizes: Mapping[str, int]
    at: Mapping[str, int]
    groups: Mapping[str, dist.ProcessGroup]

    def size(self, dim: str) -> int:
        """Shards of a dimension."""
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


def grid_of(mesh: DeviceMesh | None, group: dist.ProcessGroup | None) -> Grid:
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
        return Grid({"sequence": chosen.size()}, {"sequence": chosen.rank()}, {"sequence": chosen})
    return _of_mesh(mesh)


def _of_mesh(mesh: DeviceMesh) -> Grid:
    _check(mesh)
    names = mesh.mesh_dim_names or ()
    return Grid(
        {name: mesh.size(number) for number, name in enumerate(names)},
        {name: mesh.get_local_rank(name) for name in names},
        {name: mesh.get_group(name) for name in names},
    )


def _check(mesh: DeviceMesh) -> None:
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
