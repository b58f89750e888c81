"""Jobs with documents that change from step to step."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any
from unittest import mock

import numpy as np
import torch
import torch.distributed as dist
from cases import N, compiled
from comparison import check_bytes, compare, counted, refused

import attncc
from attncc.distributed.schedules.sharing import possible_sharings
from attncc.distributed.simulation import choose, selection
from attncc.distributed.topology import Topology
from attncc.planner.search import plan_for
from attncc.testing.oracle import Problem, differentiated


def documents(seed: int) -> attncc.Pattern:
    rng = np.random.default_rng(seed)
    return attncc.load("document", ids=np.sort(rng.integers(0, 2 + seed, N))).causal()


def compare_step(op: Any, seed: int) -> None:
    """Compare a step with one process, with bytes."""
    sizes = {"heads": op.inputs.heads, "kv_heads": op.inputs.kv_heads}
    problem = Problem.drawn(N, N, **sizes, batch=1, head_dim=8, value_dim=8, dtype=torch.float32, seed=seed)
    own = [op.shard(x).detach().requires_grad_() for x in problem.leaves()[:3]]
    mine = Problem(*own, op.shard(problem.grad_out), op.shard(problem.grad_lse), problem.scale, ())
    with counted() as forward:
        out, lse = op(*own)
    with counted() as backward:
        found = differentiated(out, lse, own, mine)
    check_bytes(op, forward, backward)
    compare(found, op.shard, op.pattern, problem)


def documents_that_change(settings: dict[str, Any]) -> list[int]:
    """Plan each step's documents while those of the step before are in use; return the bytes of each forward."""
    op = compiled(
        documents(0),
        heads=4,
        kv_heads=2,
        head_dim=8,
        dtype="fp32",
        enable_gqa=True,
        return_lse=True,
        settings=attncc.distributed.Settings(unit=4, **settings),
    )
    compare_step(op, 0)
    found = []
    for seed, each in enumerate(attncc.distributed.ahead(op, map(documents, range(1, 5))), 1):
        assert torch.equal(each.positions(), op.positions())
        assert each.pattern.key == documents(seed).key
        compare_step(each, seed)
        found.append(sum(flow.total for flow in each.flows()[0]))
    return found


class Watched:
    """An operator that says when it begins, and ends, to plan."""

    def __init__(self, op: Any, steps: int) -> None:
        self.op, self.count = op, 0
        self.begun, self.done = ([threading.Event() for _ in range(steps)] for _ in range(2))

    def replanned(self, pattern: Any) -> Any:
        number, self.count = self.count, self.count + 1
        self.begun[number].set()
        found = self.op.replanned(pattern)
        self.done[number].set()
        return found


def planned_while_a_step_runs() -> None:
    """In the middle of a step the next one is planned, no other; what it needs is found before it is called."""
    op = compiled(documents(0))
    x = torch.randn(1, 1, len(op.positions()), 8, requires_grad=True)
    op(x, x, x).sum().backward()
    watched = Watched(op, 3)
    coming = attncc.distributed.ahead(watched, map(documents, range(1, 4)))
    first = next(coming)
    out = first(x, x, x)
    assert watched.done[1].wait(30)
    assert not watched.begun[2].is_set()
    out.sum().backward()
    second = next(coming)
    assert watched.done[2].wait(30)
    before = plan_for.cache_info().misses
    second(x, x, x).sum().backward()
    assert plan_for.cache_info().misses == before
    coming.close()
    assert not [thread for thread in threading.enumerate() if "ahead" in thread.name]


def errors_of_planning_ahead() -> None:
    """What can't be planned is raised in its turn, and ends the iterator and its thread."""
    op = compiled(documents(0))
    wrong = attncc.load("document", ids=np.zeros(N - 1, int))
    coming = attncc.distributed.ahead(op, [documents(1), wrong, documents(2)])
    next(coming)
    refused(lambda: next(coming), str(N - 1), error=attncc.AttnccError)
    assert next(coming, None) is None
    assert not [thread for thread in threading.enumerate() if "ahead" in thread.name]


def replanned_tables_that_differ() -> None:
    op = compiled(documents(0))
    x = torch.randn(1, 1, len(op.positions()), 8)
    op(x, x, x)
    other = op.replanned(documents(1 + (dist.get_rank() == 1)))
    refused(lambda: other(x, x, x), "rank 1 has", "broadcast")
    refused(lambda: other(x, x, x), "rank 1 has")
    op.replanned(documents(2))(x, x, x)


@contextlib.contextmanager
def gatherings() -> Iterator[list[int]]:
    """Yield the sizes of what this rank gathers, one entry a collective."""
    sizes: list[int] = []

    def gathering(parts: Any, x: Any, **options: Any) -> Any:
        sizes.append(x.numel())
        return original(parts, x, **options)

    original, dist.all_gather = dist.all_gather, gathering
    try:
        yield sizes
    finally:
        dist.all_gather = original


def choices_that_one_rank_has_kept() -> list[tuple[str, int]]:
    """Compile for a topology where no rank has kept a choice, rank 1 alone has, and all have; then at another density.

    Return the settings and the number of simulations of each. What is gathered doesn't depend on what was kept.
    """
    topology = Topology.load("gloo").subset(dist.get_world_size())
    found, gathered = [], set()
    selection._simulated.clear()
    for seed in (3, 4, 2, 5):
        with gatherings() as sizes, mock.patch.object(choose, "choose", wraps=choose.choose) as simulated:
            op = compiled(documents(seed), topology=topology, head_dim=8, dtype="fp32", return_lse=True)
        found.append((str(op.settings), simulated.call_count))
        gathered.add(tuple(sizes))
        compare_step(op, seed)
        if seed == 3:
            selection._simulated.clear()
            if dist.get_rank() == 1:
                wanted = op.pattern, N, op.inputs, possible_sharings(topology.count, 1), topology
                other = attncc.distributed.Settings("cyclic", unit=8, stages=2)
                selection.keep(selection.SettingsChoice(wanted[3][0], other, "simulated", ""), *wanted)
    assert len(gathered) == 1
    return found
