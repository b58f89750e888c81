"""compile(): a pattern, a length and a mesh of ranks become an attention that each rank calls with its shard."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh

from attncc import backends
from attncc.backends.inputs import Inputs
from attncc.configs.encoding import Config
from attncc.distributed.execution.agreement import check_whole_weights
from attncc.distributed.execution.choice import agreed_settings
from attncc.distributed.execution.communicators import Communicators, RankMesh
from attncc.distributed.execution.deployment import Deployment
from attncc.distributed.execution.operator import DistributedAttention
from attncc.distributed.schedules.problem import PartitioningProblem
from attncc.distributed.schedules.schedule import Schedule
from attncc.distributed.schedules.settings import Settings
from attncc.distributed.schedules.sharing import possible_sharings
from attncc.distributed.schedules.validation import check_covers
from attncc.distributed.topology import Topology
from attncc.errors import ConfigError, DistributedError
from attncc.frontend.accepted import AnyPattern, AnyScore, accepted_pattern, accepted_score
from attncc.frontend.patterns import Pattern
from attncc.runtime.arguments import check_scale
from attncc.runtime.call import AttentionCall
from attncc.runtime.score_module import ScoreModule

#: What options are, and how one is made.
KINDS: dict[str, tuple[type, str]] = {
    "settings": (Settings, 'Write settings=attncc.distributed.Settings(partition="zigzag").'),
    "schedule": (Schedule, "Take that of another attention: op.schedule."),
    "topology": (Topology, "Load it: attncc.distributed.Topology.load(name)."),
}


def compile(
    pattern: AnyPattern,
    q_len: int,
    *,
    mesh: DeviceMesh | None = None,
    group: dist.ProcessGroup | None = None,
    heads: int = 1,
    kv_heads: int | None = None,
    batch: int = 1,
    head_dim: int = 64,
    value_dim: int | None = None,
    dtype: str = "bf16",
    score: AnyScore = None,
    weights: Mapping[str, Tensor] | None = None,
    scale: float | None = None,
    enable_gqa: bool = False,
    return_lse: bool = False,
    return_max_scores: bool = False,
    backend: str | None = None,
    config: Config | None = None,
    settings: Settings | None = None,
    schedule: Schedule | None = None,
    topology: Topology | None = None,
    timeout: float | None = None,
) -> DistributedAttention:
    """Return self-attention over `q_len` tokens that the ranks of a mesh share. Collective: all ranks call it alike.

    Before it returns, ranks compare digests of what they have compiled. Other options are those of attncc.attention.

    Args:
        pattern: Which keys each query sees.
        q_len: Tokens of the whole sequence.
        mesh: Its dimensions are named "batch", "heads" and "sequence", any of them in any order.
        group: Without a mesh, the ranks that share the sequence, by default all.
        heads, kv_heads, batch: Of the whole tensors; they matter to patterns and scores that depend on h or b.
        head_dim, value_dim, dtype: With these (a name such as "bf16") moving keys is weighed against moving queries.
        settings: How tokens are shared and travel.
        schedule: The schedule to run, in place of one that is planned. It is for the parts of the sequence between
            which neighbours swap, as settings.spread says.
        topology: Of all ranks: settings are tuned, or fast in simulation; for tables of about one density it is
            simulated once.
        timeout: Seconds that an exchange may take, else the group's own limit.

    Returns:
        A module that holds the score's weights, as that of attncc.compile does.

    Raises:
        DistributedError: For a mesh that doesn't fit, a schedule that can't be run, or a timeout that isn't a number of
            seconds. Also for sharded weights, and for ranks that differ.
        ConfigError: For options of another kind, and a spread that doesn't divide ranks and key heads.
        ShapeError, BackendError: For what a call would refuse; and what planning raises.
    """
    rank_mesh = RankMesh.of(mesh, group)
    chosen, bound = accepted_pattern(pattern), accepted_score(score, weights)
    call = AttentionCall.of(chosen, bound, 0, backend, config, scale, enable_gqa, return_lse, return_max_scores)
    call = call._replace(pattern=chosen.handle)  # which copies of the module find their copies of the pattern by
    given = Inputs.given(batch, heads, kv_heads, head_dim, value_dim, dtype)
    inputs = replace(given, scored=not bound.expression.is_identity)
    _check_kinds(settings=settings, schedule=schedule, topology=topology)
    check_whole_weights(bound.weights)
    _check_call(call)
    communicators = Communicators(rank_mesh, timeout)
    if topology is not None and settings is None:
        settings = _agreed_settings(chosen, q_len, inputs, rank_mesh, topology, communicators)
    deployment = Deployment.of(rank_mesh, inputs, settings or Settings(), topology, communicators)
    ulysses_degree = deployment.sharing.ulysses_degree
    if group is not None and ulysses_degree > 1:
        _check_whole(group)
    problem = deployment.problem(chosen, q_len)
    if schedule is None:
        schedule = problem.schedule(deployment.settings)
        deployment.check(schedule)
    else:
        _check_fits(schedule, problem)
        deployment.check(schedule)
        check_covers(schedule, problem)  # which one that was planned here does by construction
    op = DistributedAttention(chosen, schedule, deployment, call, ScoreModule(bound))
    op.agreement.settle()
    communicators.open(ulysses_degree)
    return op


def _agreed_settings(
    pattern: Pattern, length: int, inputs: Inputs, mesh: RankMesh, topology: Topology, communicators: Communicators
) -> Settings:
    """Return the settings that are tuned, or fast in simulation, on a topology, the same on all ranks. Collective."""
    ranks, batches, groups = (mesh.size(dim) for dim in ("sequence", "batch", "heads"))
    sharings = possible_sharings(ranks, inputs.kv_heads, batches, groups)
    channels = list(communicators.dims.values())
    return agreed_settings(pattern, length, inputs, sharings, topology, channels, mesh.device)


def _check_kinds(**given: object) -> None:
    """Raise ConfigError for a name, or a mapping, in place of what it stands for."""
    for name, value in given.items():
        kind, fix = KINDS[name]
        if value is not None and not isinstance(value, kind):
            raise ConfigError(f"{name}={value!r}.", rule=f"It is an attncc.distributed.{kind.__name__}.", fix=fix)


def _check_call(call: AttentionCall) -> None:
    """Raise, before anything is planned, what the first call would."""
    if call.scale is not None:
        check_scale(call.scale)
    if call.backend:
        backends.get(call.backend)


def _check_whole(group: dist.ProcessGroup) -> None:
    if group.size() != dist.get_world_size():
        raise DistributedError(
            f"A spread on a group of {group.size()} ranks in a world of {dist.get_world_size()}.",
            rule="All ranks of the world make the groups of neighbours together.",
            fix="Give a mesh of all ranks, or a slice of one.",
        )


def _check_fits(schedule: Schedule, problem: PartitioningProblem) -> None:
    """Raise DistributedError for a schedule of other tokens, or on another number of ranks."""
    partition = schedule.partition
    if (partition.chunking.length, partition.ranks) != (problem.length, problem.ranks):
        raise DistributedError(
            f"The schedule is for {partition.chunking.length} tokens on {partition.ranks} ranks.",
            rule=f"This attention has {problem.length} tokens on {problem.ranks} ranks.",
            fix="Plan one for these, or give settings in its place.",
        )
