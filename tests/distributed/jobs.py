"""Jobs for the ranks of a test's world: each compares its rows with attention on one process."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any
from unittest import mock

import by_hand
import catalogue
import torch
import torch.distributed as dist
from cases import N, biased, compiled, flooded, patterns
from comparison import check_bytes, compare, counted, local, refused, sent
from torch.distributed.device_mesh import init_device_mesh

import attncc
from attncc.backends.inputs import Inputs
from attncc.configs.entry import Entry
from attncc.configs.store import user_store
from attncc.distributed.execution.autograd import attend
from attncc.distributed.execution.channel import Channel
from attncc.distributed.execution.forward import Run
from attncc.distributed.execution.tables import RankTables
from attncc.distributed.execution.task_executables import TaskExecutables
from attncc.distributed.schedules import traffic
from attncc.distributed.schedules.head_classes import localised
from attncc.distributed.schedules.schedule import Schedule
from attncc.distributed.schedules.sharing import kept
from attncc.distributed.simulation import selection
from attncc.distributed.topology import Topology
from attncc.frontend.scores import Score, as_score
from attncc.planner.search import plan_for
from attncc.runtime.call import AttentionCall
from attncc.testing.oracle import Problem, Results, differentiated


def by_hand_case(
    name: str,
    kind: str,
    style: str,
    route: str,
    rounds: int,
    options: dict[str, Any],
) -> list[int]:
    """Run a schedule made by hand; return how many head classes, pushed units and relays it has."""
    ranks = dist.get_world_size()
    heads, kv_heads, batch = options.get("heads", 2), options.get("kv_heads", 2), options.get("batch", 1)
    n, size, seed = options.get("n", N), options.get("size", 8), options.get("seed", 0)
    dtype = getattr(torch, options.get("dtype", "float32"))
    pattern = patterns(n)[name]
    parts = by_hand.partition(kind, n, size, ranks, seed)
    sizes = {"heads": heads, "kv_heads": kv_heads, "batch": batch}
    schedule = by_hand.schedule(pattern, parts, **sizes, style=style, route=route, rounds=rounds, seed=seed)
    problem = Problem.drawn(n, n, **sizes, head_dim=8, value_dim=options.get("value_dim", 8), dtype=dtype, seed=seed)
    score = as_score(None)
    if options.get("score"):
        score = biased(slopes=torch.linspace(0.1, 0.5, heads))
        problem = problem.with_weights(score.tensors)
    check(pattern, schedule, problem, score, options.get("repeats", 1))
    head_classes = localised(schedule, range(batch), range(kv_heads)).head_classes
    owner = parts.owner
    relays = sum(int((head_class.keys.source != owner[head_class.keys.unit]).sum()) for head_class in head_classes)
    return [len(head_classes), sum(len(head_class.queries) for head_class in head_classes), relays]


def large_scores_case(name: str, style: str) -> None:
    """Run a schedule under a score of -1e9 in every third row; each rank compares its rows with the reference."""
    sizes, pattern = {"heads": 4, "kv_heads": 2, "batch": 1}, patterns(N)[name]
    parts = by_hand.partition("zigzag", N, 8, dist.get_world_size(), 0)
    schedule = by_hand.schedule(pattern, parts, **sizes, style=style, route="relayed", rounds=2, seed=0)
    problem = Problem.drawn(N, N, **sizes, head_dim=8, value_dim=8)
    found, rows = attended(pattern, schedule, problem, flooded(), 1)
    wide = problem.to(torch.float64)
    leaves = wide.leaves()
    options = {"scale": wide.scale, "enable_gqa": True, "return_lse": True, "backend": "reference"}
    out, lse = attncc.attention(*leaves, pattern, score=flooded(), **options)
    exact = differentiated(out, lse, leaves, wide)
    for (each, x), (_, wanted) in zip(found.items(), exact.items(), strict=True):
        if each != "lse":
            torch.testing.assert_close(
                x.double(), wanted[:, :, rows], rtol=1e-5, atol=1e-5, msg=lambda m, e=each: e + m
            )


def check(pattern: attncc.Pattern, schedule: Schedule, problem: Problem, score: Score, repeats: int) -> None:
    found, rows = attended(pattern, schedule, problem, score, repeats)
    compare(found, lambda x: x[:, :, rows], pattern, problem, score)


def greatest_by_hand(name: str, style: str, route: str) -> None:
    """Run a schedule made by hand for the greatest scores, too; every byte that a rank sends was planned."""
    ranks, rank, pattern = dist.get_world_size(), dist.get_rank(), patterns(N)[name]
    parts = by_hand.partition("zigzag", N, 8, ranks, 0)
    sizes = {"heads": 4, "kv_heads": 2, "batch": 2}
    schedule = by_hand.schedule(pattern, parts, **sizes, style=style, route=route, rounds=2, seed=0)
    score = biased(slopes=torch.linspace(0.1, 0.5, 4))
    problem = Problem.drawn(N, N, **sizes, head_dim=8, value_dim=8).with_weights(score.tensors)
    call = AttentionCall.of(pattern, score, return_max_scores=True)
    own = localised(schedule, range(2), range(2))
    run = Run(RankTables.of(own, rank), TaskExecutables(pattern, call, score.expression, N), Channel(dist.group.WORLD))
    rows = torch.from_numpy(schedule.partition.tokens(rank))
    mine = local(problem, rows)
    leaves = mine.leaves()
    inputs = replace(Inputs.of(problem.query, problem.key, problem.value), scored=True)
    with counted() as forward:
        out, lse, greatest = attend(run, *leaves[:3], leaves[3:], problem.scale)
    flows = traffic.forward(schedule, inputs) + traffic.max_scores(schedule, inputs, 4)
    assert forward == sent(flows, ranks, rank)
    found = differentiated(out, lse, leaves, mine)
    for total in found.d_weights:
        dist.all_reduce(total)
    compare(found, lambda x: x[:, :, rows], pattern, problem, score)
    check_greatest(greatest, lambda x: x[:, :, rows], pattern, problem, score)


def check_greatest(found: torch.Tensor, shard: Any, pattern: attncc.Pattern, problem: Problem, score: Score) -> None:
    """Compare this rank's greatest scores with those of one process."""
    wide = problem.to(torch.float64)
    options = {"score": score.on(wide.weights), "scale": wide.scale, "enable_gqa": True, "backend": "reference"}
    _, wanted = attncc.attention(wide.query, wide.key, wide.value, pattern, return_max_scores=True, **options)
    assert not found.requires_grad
    torch.testing.assert_close(found.double(), shard(wanted), rtol=2e-6, atol=2e-6)


def attended(
    pattern: attncc.Pattern, schedule: Schedule, problem: Problem, score: Score, repeats: int
) -> tuple[Results, torch.Tensor]:
    """Return what this rank has of its rows, and which rows these are; every byte that it sends was planned."""
    ranks, rank = dist.get_world_size(), dist.get_rank()
    rows = torch.from_numpy(schedule.partition.tokens(rank))
    batch, kv_heads = problem.key.shape[:2]
    own = localised(schedule, range(batch), range(kv_heads))
    executables = TaskExecutables(
        pattern, AttentionCall.of(pattern, score), score.expression, schedule.partition.chunking.length
    )
    run = Run(RankTables.of(own, rank), executables, Channel(dist.group.WORLD))
    inputs = replace(Inputs.of(problem.query, problem.key, problem.value), scored=executables.scored)
    for _ in range(repeats):
        mine = local(problem, rows)
        leaves = mine.leaves()
        with counted() as forward:
            out, lse = attend(run, *leaves[:3], leaves[3:], problem.scale)
        assert forward == sent(traffic.forward(schedule, inputs), ranks, rank), "bytes of the forward"
        with counted() as backward:
            found = differentiated(out, lse, leaves, mine)
        assert backward == sent(traffic.backward(schedule, inputs), ranks, rank), "bytes of the backward"
    for total in found.d_weights:
        dist.all_reduce(total)
    return found, rows


def compiled_case(name: str, settings: dict[str, Any], options: dict[str, Any]) -> str:
    """Compile a pattern for a mesh and compare this rank's shard; return the description."""
    n = options.get("n", N)
    return compared(patterns(n)[name], n, settings, options)


def catalogue_case(name: str, n: int, settings: dict[str, Any]) -> str:
    """The same with a pattern of the million-scale study."""
    pattern = next(each.make(n) for each in catalogue.entries() if each.name == name)
    return compared(pattern, n, settings, {"kv_heads": 4, "batch": 1})


def compared(pattern: attncc.Pattern, n: int, settings: dict[str, Any], options: dict[str, Any]) -> str:
    """Compile a pattern and compare this rank's shard with one process, and its bytes with the plan."""
    batch = options.get("batch", 2)
    heads, kv_heads = options.get("heads", 4), options.get("kv_heads", 2)
    dtype = getattr(torch, options.get("dtype", "float32"))
    dims = options.get("mesh")
    sizes = {"heads": heads, "kv_heads": kv_heads, "batch": batch}
    problem = Problem.drawn(n, n, **sizes, head_dim=8, value_dim=8, dtype=dtype)
    score = as_score(None)
    if options.get("score"):
        score = biased(slopes=torch.linspace(0.1, 0.5, heads))
        problem = problem.with_weights(score.tensors)
    leaves = problem.leaves()
    op = attncc.distributed.compile(
        pattern,
        n,
        mesh=dims and init_device_mesh("cpu", tuple(dims.values()), mesh_dim_names=tuple(dims)),
        **sizes,
        head_dim=8,
        dtype=Inputs.of(problem.query, problem.key, problem.value).dtype,
        score=score.on(leaves[3:]) if score.weights else None,
        enable_gqa=True,
        return_lse=options.get("return_lse", True),
        return_max_scores=options.get("max_scores", False),
        backend=options.get("backend"),
        settings=attncc.distributed.Settings(**settings),
    )
    own = [op.shard(x).detach().requires_grad_() for x in leaves[:3]]
    mine = Problem(*own, op.shard(problem.grad_out), op.shard(problem.grad_lse), problem.scale, problem.weights)
    with counted() as forward:
        out, lse, *greatest = op(*own)
    with counted() as backward:
        found = differentiated(out, lse, (*own, *leaves[3:]), mine)
    check_bytes(op, forward, backward)
    for each in greatest:
        check_greatest(each, op.shard, pattern, problem, score)
    assert len(greatest) == options.get("max_scores", False)
    for total in found.d_weights:
        dist.all_reduce(total)
    compare(found, op.shard, pattern, problem, score)
    assert torch.equal(op.unshard(op.shard(problem.query)), problem.query)
    return op.describe()


def swapped_without_lse() -> None:
    """Without a request for lse, it isn't exchanged."""
    op = compiled(heads=4, settings=attncc.distributed.Settings(spread=2), head_dim=8, dtype="fp32")
    torch.manual_seed(0)
    whole = [torch.randn(1, 4, N, 8, requires_grad=True) for _ in range(3)]
    own = [op.shard(x).detach().requires_grad_() for x in whole]
    with counted() as forward:
        out = op(*own)
    with counted() as backward:
        out.square().sum().backward()
    check_bytes(op, forward, backward)
    wanted = attncc.attention(*whole, op.pattern)
    wanted.square().sum().backward()
    torch.testing.assert_close(out, op.shard(wanted), rtol=1e-5, atol=1e-5)
    for x, y in zip(own, whole, strict=True):
        torch.testing.assert_close(x.grad, op.shard(y.grad), rtol=1e-5, atol=1e-5)


def planned_once() -> None:
    """More tasks than the planner keeps plans for, called again: nothing is planned any more."""
    parts = by_hand.partition("scattered", 400, 4, 2)
    schedule = by_hand.schedule(attncc.load("strided", l=9), parts, style="mixed", route="rounds", rounds=6)
    op = attncc.distributed.compile(attncc.load("strided", l=9), 400, schedule=schedule)
    x = torch.randn(1, 1, len(op.positions()), 8, requires_grad=True)
    op(x, x, x).sum().backward()
    tasks = sum(1 for _ in schedule.head_classes[0].tasks_of(dist.get_rank()))
    assert tasks > 64
    before = plan_for.cache_info().misses
    op(x, x, x).sum().backward()
    assert plan_for.cache_info().misses == before


def changed_configuration() -> None:
    """What the caller does to a configuration after compile() doesn't change what runs, nor what ranks compare."""
    config: dict[str, object] = {"forward.plan": "fused"}
    op = compiled(config=config)
    before = op.call
    config["forward.plan"] = "no such plan"
    assert op.call == before
    x = torch.randn(1, 1, len(op.positions()), 64)
    op(x, x, x)


def sharded_and_reassembled() -> None:
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("sequence", "batch"))
    op = compiled(mesh=mesh, settings=attncc.distributed.Settings(partition="zigzag"))
    ids = torch.arange(4 * N).view(4, N)
    own = op.shard(ids, heads=None, sequence=1)
    assert torch.equal(own, ids[op.mesh.part("batch", 4)][:, op.positions()])
    assert torch.equal(op.unshard(own, heads=None, sequence=1), ids)
    everyone = torch.cat([op.positions(rank) for rank in range(2)])
    assert torch.equal(everyone.sort().values, torch.arange(N))


def described() -> str:
    return str(compiled().describe())


def kept_for_the_backward(settings: dict[str, Any]) -> list[int]:
    """Return the bytes that this rank has kept of others, and those that are planned."""
    pattern = patterns()["mix"]
    sizes = {"heads": 4, "kv_heads": 4, "head_dim": 8, "dtype": "fp32"}
    op = compiled(pattern, **sizes, settings=attncc.distributed.Settings(unit=4, **settings))
    own = [op.shard(torch.randn(1, 4, N, 8, requires_grad=True)) for _ in range(3)]
    node = op(*own).grad_fn
    while not node.name().startswith("_RankAttentionBackward"):
        node = node.next_functions[0][0]
    found = sum(x.numel() * x.element_size() for x in node.saved_tensors[5:])
    planned = kept(op.schedule, op.inputs, op.sharing)
    assert f"up to {planned.max():,} bytes" in op.describe()
    return [found, int(planned[dist.get_rank()])]


def on_a_topology(folder: str, winner: str, given: str) -> list[str]:
    """Compile for a topology without a winner, with one, and with settings; return the names of the partitions."""
    topology = Topology.load("gloo").subset(dist.get_world_size())
    with mock.patch.dict(os.environ, ATTNCC_CACHE_DIR=folder):
        found = [compiled(topology=topology)]
        if dist.get_rank() == 0:
            key = selection.key_of(found[0].pattern, N, found[0].inputs, topology, "both")
            where = selection.environment_of(topology)
            user_store().save(Entry(key, where, {"partition": winner}, "modelled", {"best": 1.0}))
        dist.barrier()
        found.append(compiled(topology=topology))
        found.append(compiled(topology=topology, settings=attncc.distributed.Settings(given)))
        refused(lambda: compiled(topology=Topology.load("8xh100")), "8 devices", error=attncc.TopologyError)
    return [op.schedule.partition.name for op in found]
