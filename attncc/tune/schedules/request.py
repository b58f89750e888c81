"""Requests: what is asked of the autotuner for many devices."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from os import PathLike
from typing import TYPE_CHECKING

from attncc import targets
from attncc.backends.inputs import Inputs
from attncc.distributed.schedules.sharing import Sharing
from attncc.distributed.topology import Topology
from attncc.errors import TopologyError
from attncc.frontend.patterns import as_pattern
from attncc.planner.directions import BY_SHORT_NAME
from attncc.tune.listener import SILENT, Listener
from attncc.tune.options import Options
from attncc.tune.request import Asked
from attncc.tune.result import Results
from attncc.tune.schedules.efforts import MEASURED, SIMULATED
from attncc.tune.schedules.job import ScheduleJob

if TYPE_CHECKING:
    from attncc.tune.schedules.subject import Simulated


@dataclass(frozen=True, kw_only=True)
class ScheduleRequest(Asked[ScheduleJob]):
    """What is asked of the autotuner, for the devices of a topology: one schedule for all of `direction`.

    topology: a shipped one's name, a TOML file, or itself. ranks: only its first so many devices. mesh: (batch, heads,
    sequence) shards, unless they are to be chosen. measure: run the best by simulation on the ranks of this world,
    which torchrun started; all of them ask alike. trials: simulated ones, or the number to measure.
    """

    topology: str | PathLike[str] | Topology
    ranks: int | None = None
    mesh: tuple[int, int, int] | None = None
    measure: bool = False

    @property
    def options(self) -> Options:
        """How the job is tuned."""
        mode, efforts = ("measured", MEASURED) if self.measure else ("modelled", SIMULATED)
        return Options(mode=mode, efforts=efforts, **self.manner())

    @property
    def jobs(self) -> list[ScheduleJob]:
        """The one thing that is tuned."""
        topology = self.topology if isinstance(self.topology, Topology) else Topology.load(self.topology)
        if self.ranks is not None:
            topology = topology.subset(self.ranks)
        inputs = self.inputs(all(targets.target(name).gpu for name in topology.targets))
        self._check(topology, inputs)
        direction = BY_SHORT_NAME[self.direction]
        return [
            ScheduleJob(as_pattern(self.pattern), self.q_len, inputs, direction, topology, self.mesh and self.mesh[:2])
        ]

    def subject(self, job: ScheduleJob, listener: Listener = SILENT) -> Simulated:
        """Return the job as the search sees it, simulated."""
        from attncc.tune.schedules.subject import Simulated

        return Simulated(job, self.options, partial(listener.on_step, job))

    def answered(self, listener: Listener = SILENT) -> Results:
        """Return what was found before, or tune; where ranks measure, each of them returns the same."""
        if not self.measure:
            return super().answered(listener)
        from attncc.tune.schedules.measured import answered

        return answered(self.jobs[0], self.options, listener)

    def _check(self, topology: Topology, inputs: Inputs) -> None:
        """Raise TopologyError or ConfigError unless devices fit the mesh, and ranks the devices."""
        if self.mesh is not None:
            self._check_mesh(topology, inputs, Sharing(*self.mesh))
        if not self.measure:
            return
        from attncc.tune.schedules.world import size

        if topology.count != size():
            raise TopologyError(
                f"{size()} ranks on the {topology.count} devices of {topology.name!r}.",
                rule="Each device has one rank, where they are measured.",
                fix=f"Take its first ones with --ranks {size()}, or start as many ranks.",
            )

    def _check_mesh(self, topology: Topology, inputs: Inputs, sharing: Sharing) -> None:
        if sharing.ranks != topology.count:
            shape = "x".join(map(str, self.mesh or ()))
            raise TopologyError(
                f"A mesh of {shape} on the {topology.count} devices of {topology.name!r}.",
                rule="It is batch x heads x sequence, and their product the number of devices.",
                fix="Change --mesh, or take fewer devices with --ranks.",
            )
        sharing.check(inputs)
