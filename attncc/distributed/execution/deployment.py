"""Deployment: how the ranks of a mesh share sequences of one length, whatever their pattern."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from attncc.backends.inputs import Inputs
from attncc.distributed.execution.communicators import Communicators, RankMesh
from attncc.distributed.schedules.head_classes import localised
from attncc.distributed.schedules.problem import PartitioningProblem
from attncc.distributed.schedules.schedule import Schedule
from attncc.distributed.schedules.settings import Settings
from attncc.distributed.schedules.sharing import Sharing
from attncc.distributed.schedules.validation import check_schedule
from attncc.distributed.topology import Topology
from attncc.errors import ConfigError
from attncc.frontend.patterns import Pattern
from attncc.ir.tables import Array


class Deployment(NamedTuple):
    """What an attention of ranks keeps when it is planned anew for another pattern.

    Attributes:
        mesh: The mesh as this rank sees it.
        inputs: Sizes of the whole tensors.
        settings: How tokens are shared and travel.
        sharing: How the ranks of a sequence group divide heads and tokens.
        nodes: The node of each part of the sequence, None if all are in one.
        communicators: What ranks exchange on.
    """

    mesh: RankMesh
    inputs: Inputs
    settings: Settings
    sharing: Sharing
    nodes: Array | None
    communicators: Communicators

    @classmethod
    def of(
        cls, mesh: RankMesh, inputs: Inputs, settings: Settings, topology: Topology | None, communicators: Communicators
    ) -> Deployment:
        """Return the deployment under these settings; raises ConfigError for a spread that divides no ranks or heads.

        Without a topology all ranks are in one node.
        """
        sharing = _sharing(mesh, inputs, settings.spread)
        nodes = None if topology is None else _nodes(topology, mesh, sharing)
        return cls(mesh, inputs, settings, sharing, nodes, communicators)

    def problem(self, pattern: Pattern, length: int) -> PartitioningProblem:
        """Return the problem of a pattern of `length` tokens on the parts of a sequence."""
        return PartitioningProblem(pattern, length, self.sharing.parts, self.inputs, self.nodes)

    def own(self, schedule: Schedule) -> Schedule:
        """Return the schedule of the batch entries and heads that this rank computes, numbered from 0.

        Raises DistributedError where these differ and the ranks of a mesh can't have equally many.
        """
        if all(head_class.members is None for head_class in schedule.head_classes):
            return schedule
        heads, ulysses_degree = self.mesh.part("heads", self.inputs.kv_heads), self.sharing.ulysses_degree
        share = len(heads) // ulysses_degree
        first = heads.start + self.mesh.shard("sequence") % ulysses_degree * share
        return localised(schedule, self.mesh.part("batch", self.inputs.batch), range(first, first + share))

    def check(self, schedule: Schedule) -> None:
        """Raise DistributedError for a schedule that can't be run, and what `own` does."""
        check_schedule(schedule)
        self.own(schedule)


def _sharing(mesh: RankMesh, inputs: Inputs, ulysses_degree: int) -> Sharing:
    """Return how ranks share heads and tokens; without Ulysses, tensors may have any number of heads later."""
    ranks = mesh.size("sequence")
    if ulysses_degree == 1:
        return Sharing(parts=ranks)
    if ranks % ulysses_degree:
        raise ConfigError(
            f"spread={ulysses_degree} on {ranks} ranks that share a sequence.",
            rule="The ranks are divided into groups of that many neighbours.",
            fix=f"Choose a spread that divides {ranks}.",
        )
    found = Sharing(heads=mesh.size("heads"), parts=ranks // ulysses_degree, ulysses_degree=ulysses_degree)
    found.check(inputs)
    return found


def _nodes(topology: Topology, mesh: RankMesh, sharing: Sharing) -> Array:
    """Return the node of each part, as the first sequence group has them."""
    whole = replace(sharing, batch=mesh.size("batch"), heads=mesh.size("heads"))
    first = next(ranks for _, ranks in whole.groups())
    return topology.node[first]
