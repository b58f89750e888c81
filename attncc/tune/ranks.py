"""Ranks: all of a world run the schedules that rank 0 asks for, at the same time; messages travel as JSON."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from statistics import median
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from attncc.distributed.execution.communicators import DIMS
from attncc.distributed.execution.compiling import compile
from attncc.distributed.execution.operator import DistributedAttention
from attncc.distributed.schedules.sharing import Sharing
from attncc.distributed.simulation.scenario import Scenario
from attncc.distributed.simulation.selection import parsed
from attncc.errors import AttnccError, ConfigError
from attncc.measure.workload import drawn
from attncc.tune.evaluation import Config, Evaluator, Finals, Outcome
from attncc.tune.task import OnStep

#: Rounds of a trial: in each of them all ranks run once.
ROUNDS = 3

#: Seconds of each round, or in a line why there are none.
Answer = list[float] | str


class Ranks:
    """All ranks, as rank 0 sees them, which asks and tells, and as the others do, which listen.

    They run schedules of a scenario. `control` is a group of all ranks that moves tensors of the CPU.
    """

    def __init__(self, scenario: Scenario, seed: int, device: torch.device, control: dist.ProcessGroup) -> None:
        self._scenario, self._seed, self._device, self._control = scenario, seed, device, control
        self._meshes: dict[tuple[int, ...], DeviceMesh] = {}

    def ask(self, configs: Sequence[Config], rounds: int) -> list[Answer]:
        """Have all ranks run configurations; rank 0 returns what they took."""
        listed = [dict(config) for config in configs]
        self.tell({"configs": listed, "rounds": rounds})
        return self._run(listed, rounds)

    def tell(self, message: Mapping[str, Any]) -> None:
        """Send a message to the other ranks."""
        self._broadcast(json.dumps(message).encode())

    def listen(self) -> Mapping[str, Any]:
        """Run what rank 0 asks for; return its first message that asks for nothing, its answer."""
        while True:
            message: dict[str, Any] = json.loads(self._broadcast(b""))
            if "configs" not in message:
                return message
            self._run(message["configs"], message["rounds"])

    def _broadcast(self, text: bytes) -> bytes:
        """Send rank 0's bytes to all ranks; each returns them."""
        length = torch.tensor(len(text))
        dist.broadcast(length, 0, self._control)
        content = torch.empty(int(length), dtype=torch.uint8)
        if dist.get_rank() == 0:
            content = torch.frombuffer(bytearray(text), dtype=torch.uint8)
        dist.broadcast(content, 0, self._control)
        return bytes(content.numpy())

    def _run(self, configs: Sequence[Config], rounds: int) -> list[Answer]:
        """Return what each configuration takes the slowest rank, in rounds in which they take turns; collective.

        An error while schedules run isn't one configuration's: ranks are out of step then, and it is raised.
        """
        calls = [self._call(config) for config in configs]
        answers: list[Answer] = [call if isinstance(call, str) else [] for call in calls]
        for number in range(rounds + 1):  # what the first one plans and compiles doesn't count
            for call, seconds in zip(calls, answers, strict=True):
                if isinstance(call, str) or isinstance(seconds, str):
                    continue
                taken = call()
                if number:
                    seconds.append(taken)
        return answers

    def _call(self, config: Config) -> Callable[[], float] | str:
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

    def _compiled(self, config: Config) -> DistributedAttention:
        scenario, inputs = self._scenario, self._scenario.inputs
        sharing, settings = parsed(config, dist.get_world_size())
        return compile(
            scenario.pattern,
            scenario.length,
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
        mesh, tokens = op.mesh, len(op.positions())
        local = Sharing(mesh.size("batch"), mesh.size("heads")).local(self._scenario.inputs)
        *leaves, gradient = drawn(local, tokens, tokens, self._seed + dist.get_rank(), self._device)
        return [*(x.requires_grad_() for x in leaves), gradient]

    def _seconds(self, op: DistributedAttention, tensors: Sequence[Tensor]) -> float:
        *leaves, gradient = tensors
        directions = self._scenario.directions
        results: list[Tensor] = []
        with torch.no_grad() if directions == ("forward",) else nullcontext():
            forward = self._slowest(lambda: results.append(cast(Tensor, op(*leaves))))
        if directions == ("forward",):
            return forward
        backward = self._slowest(lambda: torch.autograd.grad(results, leaves, [gradient]))
        return backward + (forward if "forward" in directions else 0.0)

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


class RanksEvaluator(Evaluator):
    """Times configurations on all ranks; rank 0 asks."""

    def __init__(self, ranks: Ranks, on_step: OnStep = lambda step: None) -> None:
        self._ranks, self._on_step = ranks, on_step
        self._seconds: dict[frozenset[tuple[str, object]], float] = {}

    def __call__(self, configs: Sequence[Config], best: float | None) -> list[Outcome]:
        """Return the outcome of each configuration."""
        outcomes = [
            Outcome(None, reason=each) if isinstance(each, str) else Outcome(median(each), tuple(each))
            for each in self._ranks.ask(configs, ROUNDS)
        ]
        for config, outcome in zip(configs, outcomes, strict=True):
            self._seconds[frozenset(config.items())] = outcome.seconds or 0.0
        return outcomes

    def finals(self, contestants: Sequence[Config], *, dense: bool, rounds: int, left: Callable[[], float]) -> Finals:
        """Let the contestants take turns, in fewer rounds where there is no time for all, but some."""
        turn = sum(self._seconds.get(frozenset(config.items()), 0.0) for config in contestants)
        affordable = int(left() / turn) if turn else rounds
        most = max(min(rounds, affordable), min(rounds, ROUNDS))
        self._on_step(f"finals, {most} rounds: {len(contestants)} schedules in turn")
        answers = self._ranks.ask(contestants, most)
        errors = {index: each for index, each in enumerate(answers) if isinstance(each, str) and index}
        return Finals(tuple(() if isinstance(each, str) else tuple(each) for each in answers), (), errors)


def world_size() -> int:
    """Return the number of ranks of this world; raises ConfigError where there is none."""
    if dist.is_initialized():
        return dist.get_world_size()
    size = os.environ.get("WORLD_SIZE", "")
    if not size.isdigit():
        raise ConfigError(
            "There are no ranks to measure with.",
            rule="Schedules are measured by all ranks of a world, which torchrun starts.",
            fix="torchrun --nproc-per-node 4 --no-python attncc tune ... --measure",
        )
    return int(size)
