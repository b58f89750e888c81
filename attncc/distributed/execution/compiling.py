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
from attncc.distributed.execution.operator import DistributedAttention
from attncc.distributed.execution.shards import schedule_of
from attncc.distributed.schedules.problem import PartitioningProblem
from attncc.distributed.schedules.schedule import Schedule
from attncc.distributed.schedules.settings import Settings
from attncc.distributed.schedules.sharing import Sharing, possible_sharings
from attncc.distributed.schedules.validation import check_covers, check_schedule
from attncc.distributed.topology import Topology
from attncc.errors import ConfigError, DistributedError
from attncc.frontend.accepted import AnyPattern, AnyScore, accepted_pattern, accepted_score
from attncc.ir.tables import Array
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
        ranks, batches, groups = (rank_mesh.size(dim) for dim in ("sequence", "batch", "heads"))
        sharings = possible_sharings(ranks, inputs.kv_heads, batches, groups)
        channels, device = list(communicators.dims.values()), rank_mesh.device
        settings = agreed_settings(chosen, q_len, inputs, sharings, topology, channels, device)
    chosen_settings = settings or Settings()
    sharing = _sharing(rank_mesh, inputs, chosen_settings.spread)
    if group is not None and sharing.ulysses_degree > 1:
        _check_whole(group)
    nodes = _nodes(topology, rank_mesh, sharing)
    problem = PartitioningProblem(chosen, q_len, sharing.parts, inputs, nodes)
    made = problem.schedule(chosen_settings) if schedule is None else schedule
    _check_fits(made, q_len, sharing.parts)
    check_schedule(made)
    if schedule is not None:  # what was planned here is proved by construction
        check_covers(made, problem)
    schedule_of(made, rank_mesh, inputs, sharing.ulysses_degree)
    plan = made, chosen_settings, rank_mesh, sharing, nodes, communicators, inputs
    op = DistributedAttention(chosen, *plan, call, ScoreModule(bound))
    op.agreement.settle()
    communicators.open(sharing.ulysses_degree)
    return op


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


def _nodes(topology: Topology | None, mesh: RankMesh, sharing: Sharing) -> Array | None:
    """Return the node of each part, as the first sequence group has them; None where nobody said."""
    if topology is None:
        return None
    whole = replace(sharing, batch=mesh.size("batch"), heads=mesh.size("heads"))
    first = next(ranks for _, ranks in whole.groups())
    return topology.node[first]


def _check_whole(group: dist.ProcessGroup) -> None:
    if group.size() != dist.get_world_size():
        raise DistributedError(
            f"A spread on a group of {group.size()} ranks in a world of {dist.get_world_size()}.",
            rule="All ranks of the world make the groups of neighbours together.",
            fix="Give a mesh of all ranks, or a slice of one.",
        )


def _check_fits(schedule: Schedule, length: int, parts: int) -> None:
    partition = schedule.partition
    if (partition.chunking.length, partition.ranks) != (length, parts):
        raise DistributedError(
            f"The schedule is for {partition.chunking.length} tokens on {partition.ranks} ranks.",
            rule=f"This attention has {length} tokens on {parts} ranks.",
            fix="Plan one for these, or give settings in its place.",
        )
