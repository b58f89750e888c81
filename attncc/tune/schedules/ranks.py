"""Ranks: each runs the schedules that rank 0 asks for, all at the same time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from attncc.distributed.execution.communicators import DIMS
from attncc.distributed.execution.compiling import compile
from attncc.distributed.execution.operator import DistributedAttention
from attncc.distributed.schedules.sharing import Sharing
from attncc.distributed.simulation.selection import parsed
from attncc.errors import AttnccError
from attncc.measure.workload import DTYPES
from attncc.planner.directions import ways
from attncc.tune.schedules.job import ScheduleJob

#: Seconds of each round, or in a line why there are none.
Answer = list[float] | str


class Ranks:
    """What a rank does when all are asked; `control` is a group of all ranks that moves tensors of the CPU."""

    def __init__(self, job: ScheduleJob, seed: int, device: torch.device, control: dist.ProcessGroup) -> None:
        self._job, self._seed, self._device, self._control = job, seed, device, control
        self._meshes: dict[tuple[int, ...], DeviceMesh] = {}

    def run(self, configs: Sequence[Mapping[str, object]], rounds: int) -> list[Answer]:
        """Return what each configuration takes the slowest rank, in rounds in which they take turns; collective.

        An error while schedules run isn't one configuration's: ranks are out of step then, and it is raised.
        """
        calls = [self._call(config) for config in configs]
        found: list[Answer] = [call if isinstance(call, str) else [] for call in calls]
        for number in range(rounds + 1):  # what the first one plans and compiles doesn't count
            for call, seconds in zip(calls, found, strict=True):
                if isinstance(call, str) or isinstance(seconds, str):
                    continue
                taken = call()
                if number:
                    seconds.append(taken)
        return found

    def _call(self, config: Mapping[str, object]) -> Callable[[], float] | str:
        """Return what runs a schedule once and returns its seconds, or why some rank can't have it."""
        reason = ""
        try:
            op = self._compiled(config)
        except AttnccError as error:
            reason = " ".join(error.problem.split())
        refused = torch.tensor(float(bool(reason)))
        dist.all_reduce(refused, dist.ReduceOp.MAX, self._control)
        if refused:
            return reason or "another rank refused it"
        tensors = self._tensors(op)
        return lambda: self._seconds(op, tensors)

    def _compiled(self, config: Mapping[str, object]) -> DistributedAttention:
        job, inputs = self._job, self._job.inputs
        sharing, settings = parsed(config, dist.get_world_size())
        return compile(
            job.pattern,
            job.length,
            mesh=self._mesh(sharing),
            heads=inputs.heads,
            kv_heads=inputs.kv_heads,
            batch=inputs.batch,
            head_dim=inputs.head_dim,
            value_dim=inputs.value_dim,
            dtype=inputs.dtype,
            enable_gqa=inputs.group > 1,
            settings=settings,
        )

    def _mesh(self, sharing: Sharing) -> DeviceMesh:
        sizes = sharing.batch, sharing.heads, sharing.parts * sharing.ulysses_degree
        if sizes not in self._meshes:
            self._meshes[sizes] = init_device_mesh(self._device.type, sizes, mesh_dim_names=DIMS)
        return self._meshes[sizes]

    def _tensors(self, op: DistributedAttention) -> list[Tensor]:
        """Return this rank's query, key, value and gradient of the output, random."""
        inputs, mesh = self._job.inputs, op.mesh
        batch, tokens = inputs.batch // mesh.size("batch"), len(op.positions())
        draw = torch.Generator(self._device).manual_seed(self._seed + dist.get_rank())

        def drawn(heads: int, size: int) -> Tensor:
            shape = batch, heads // mesh.size("heads"), tokens, size
            made = torch.randn(shape, generator=draw, device=self._device, dtype=torch.float32)
            return made.to(DTYPES[inputs.dtype]).requires_grad_()

        sizes = [
            (inputs.heads, inputs.head_dim),
            (inputs.kv_heads, inputs.head_dim),
            (inputs.kv_heads, inputs.value_dim),
        ]
        return [*(drawn(*each) for each in sizes), drawn(inputs.heads, inputs.value_dim).detach()]

    def _seconds(self, op: DistributedAttention, tensors: Sequence[Tensor]) -> float:
        *leaves, gradient = tensors
        asked = ways(self._job.direction)
        results: list[Tensor] = []
        with torch.no_grad() if asked == ("forward",) else nullcontext():
            forward = self._slowest(lambda: results.append(cast(Tensor, op(*leaves))))
        if asked == ("forward",):
            return forward
        backward = self._slowest(lambda: torch.autograd.grad(results, leaves, [gradient]))
        return backward + (forward if "forward" in asked else 0.0)

    def _slowest(self, call: Callable[[], object]) -> float:
        """Return the seconds of the slowest rank; all begin together."""
        dist.barrier(self._control)
        self._synchronise()
        begin = time.perf_counter()
        call()
        self._synchronise()
        taken = torch.tensor(time.perf_counter() - begin, dtype=torch.float64)
        dist.all_reduce(taken, dist.ReduceOp.MAX, self._control)
        return float(taken)

    def _synchronise(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
