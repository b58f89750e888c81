"""Worlds: rank 0 asks all ranks to run schedules; what is asked and answered travels as JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from statistics import median
from types import TracebackType
from typing import Any

import torch
import torch.distributed as dist

from attncc import targets
from attncc.distributed.topology import Topology
from attncc.errors import ConfigError
from attncc.tune.outcome import Config, Finals, Outcome
from attncc.tune.schedules.job import ScheduleJob
from attncc.tune.schedules.ranks import Answer, Ranks

#: Rounds of a trial: each of them all ranks run once.
ROUNDS = 3
#: How long ranks wait for rank 0, which simulates meanwhile.
PATIENCE = timedelta(hours=12)


def size() -> int:
    """Return the number of ranks of this world; raises ConfigError where there is none."""
    if dist.is_initialized():
        return dist.get_world_size()
    found = os.environ.get("WORLD_SIZE", "")
    if not found.isdigit():
        raise ConfigError(
            "There are no ranks to measure with.",
            rule="Schedules are measured by all ranks of a world, which torchrun starts.",
            fix="torchrun --nproc-per-node 4 --no-python attncc tune ... --measure",
        )
    return int(found)


@dataclass(frozen=True, eq=False)
class World:
    """All ranks, as rank 0 sees them, which tells and asks, and as the others do, which listen."""

    ranks: Ranks
    control: dist.ProcessGroup

    def ask(self, configs: Sequence[Config], rounds: int) -> list[Answer]:
        """Have all ranks run configurations; rank 0 returns what they took."""
        listed = [dict(config) for config in configs]
        self.tell({"configs": listed, "rounds": rounds})
        return self.ranks.run(listed, rounds)

    def tell(self, message: Mapping[str, Any]) -> None:
        """Send a message to the other ranks."""
        _broadcast(self.control, json.dumps(message).encode())

    def listen(self) -> Mapping[str, Any]:
        """Run what rank 0 asks for, until it says what came of it."""
        while True:
            message: dict[str, Any] = json.loads(_broadcast(self.control, b""))
            if "configs" not in message:
                return message
            self.ranks.run(message["configs"], message["rounds"])


class Asking:
    """Times configurations on all ranks; rank 0 asks."""

    batch = 1

    def __init__(self, world: World, on_step: Callable[[str], None] = lambda step: None) -> None:
        self._world, self._on_step = world, on_step
        self._known: dict[frozenset[tuple[str, object]], float] = {}

    def __enter__(self) -> Asking:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The world goes on."""

    def __call__(self, configs: Sequence[Config], best: float | None) -> list[Outcome]:
        """Return the outcome of each configuration."""
        found = [
            Outcome(None, reason=each) if isinstance(each, str) else Outcome(median(each), tuple(each))
            for each in self._world.ask(configs, ROUNDS)
        ]
        for config, outcome in zip(configs, found, strict=True):
            self._known[frozenset(config.items())] = outcome.seconds or 0.0
        return found

    def finals(self, contestants: Sequence[Config], *, dense: bool, rounds: int, left: Callable[[], float]) -> Finals:
        """Let the contestants take turns, in fewer rounds where there is no time for all, but some."""
        turn = sum(self._known.get(frozenset(config.items()), 0.0) for config in contestants)
        affordable = int(left() / turn) if turn else rounds
        most = max(min(rounds, affordable), min(rounds, ROUNDS))
        self._on_step(f"finals, {most} rounds: {len(contestants)} schedules in turn")
        answers = self._world.ask(contestants, most)
        errors = {place: each for place, each in enumerate(answers) if isinstance(each, str) and place}
        return Finals(tuple(() if isinstance(each, str) else tuple(each) for each in answers), (), errors)


@contextmanager
def joined(job: ScheduleJob, seed: int) -> Iterator[World]:
    """Yield the world of all ranks, which run schedules of a job; end it if it began here. Collective."""
    device = _device(job.topology)
    begins = not dist.is_initialized()
    if begins:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        control = dist.new_group(backend="gloo", timeout=PATIENCE)
        assert isinstance(control, dist.ProcessGroup)
        yield World(Ranks(job, seed, device, control), control)
        dist.barrier(control)
    finally:
        if begins:
            dist.destroy_process_group()


def _device(topology: Topology) -> torch.device:
    if not all(targets.target(name).gpu for name in topology.targets):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ConfigError(
            f"Topology {topology.name!r} is of {', '.join(topology.targets)}, and this rank has no GPU.",
            rule="Schedules are measured on the devices of the topology.",
            fix="Leave --measure out, or choose a topology of CPUs.",
        )
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(device)
    return device


def _broadcast(group: dist.ProcessGroup, text: bytes) -> bytes:
    """Send rank 0's bytes to all ranks; each returns them."""
    length = torch.tensor(len(text))
    dist.broadcast(length, 0, group)
    content = torch.empty(int(length), dtype=torch.uint8)
    if dist.get_rank() == 0:
        content = torch.frombuffer(bytearray(text), dtype=torch.uint8)
    dist.broadcast(content, 0, group)
    return bytes(content.numpy())
