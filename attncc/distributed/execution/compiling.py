"""compile(): a pattern, a length and a mesh of ranks become an attention that each rank calls with its shard."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh

from attncc import backends
from attncc.backends.inputs import Inputs
from attncc.distributed.execution.lines import Lines
from attncc.distributed.execution.mesh import Grid, grid_of
from attncc.distributed.execution.operator import DistributedAttention
from attncc.distributed.execution.shards import schedule_of
from attncc.distributed.execution.sizes import check_whole_weights
from attncc.distributed.schedules.coverage import check_covers
from attncc.distributed.schedules.problem import Problem
from attncc.distributed.schedules.schedule import Schedule
from attncc.distributed.schedules.settings import Settings
from attncc.distributed.schedules.sharing import Sharing, spreads
from attncc.distributed.schedules.validity import check_schedule
from attncc.distributed.simulation.selection import settings_for
from attncc.distributed.topology import Topology
from attncc.errors import ConfigError, DistributedError
from attncc.frontend.patterns import Pattern, PatternFactory, as_pattern
from attncc.frontend.scores import Score, ScoreFactory, as_score
from attncc.ir.tables import Array
from attncc.runtime.arguments import Options, check_backend, check_scale
from attncc.runtime.executables import Config, encoded

#: What options are, and how one is made.
KINDS: dict[str, tuple[type, str]] = {
    "settings": (Settings, 'Write settings=attncc.distributed.Settings(partition="zigzag").'),
    "schedule": (Schedule, "Take that of another attention: op.schedule."),
    "topology": (Topology, "Load it: attncc.distributed.Topology.load(name)."),
}


def compile(
    pattern: Pattern | PatternFactory,
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
    score: Score | ScoreFactory | None = None,
    weights: Mapping[str, Tensor] | None = None,
    scale: float | None = None,
    enable_gqa: bool = False,
    return_lse: bool = False,
    backend: str | None = None,
    config: Config | None = None,
    settings: Settings | None = None,
    schedule: Schedule | None = None,
    topology: Topology | None = None,
    timeout: float | None = None,
) -> DistributedAttention:
    """Return self-attention over `q_len` tokens that the ranks of a mesh share. Collective: all ranks call it alike.

    mesh: its dimensions are named "batch", "heads" and "sequence", any of them in any order; without one, the ranks of
    `group` (by default all) share the sequence. heads, kv_heads, batch: of the whole tensors; they matter to patterns
    and scores that depend on h or b. With head_dim, value_dim and dtype (a name such as "bf16") they weigh moving keys
    against moving queries. settings: how tokens are shared and travel; or a `schedule` as it is to be run (of the
    settings the spread still holds: it is for the parts between which neighbours swap); or the `topology` of all ranks,
    for which selection.settings_for finds what was tuned, or is fast in simulation. timeout: seconds that an exchange
    may take, else the group's own limit. The result is a module that holds the score's weights, as that of
    attncc.compile does. Other options are those of attncc.attention.

    Before it returns, ranks compare digests of what they have compiled. Raises DistributedError for a mesh that doesn't
    fit, a schedule that can't be run, a timeout that is none, weights that are sharded and ranks that differ,
    ConfigError for options of another kind and a spread that doesn't divide ranks and key heads, ShapeError or
    BackendError for what a call would refuse, and what planning raises.
    """
    grid = grid_of(mesh, group)
    chosen = as_pattern(pattern)
    options = Options(as_score(score, weights), scale, enable_gqa, 0, return_lse, backend, encoded(config))
    given = Inputs.given(batch, heads, kv_heads, head_dim, value_dim, dtype)
    inputs = replace(given, scored=not options.score.expression.is_identity)
    _check_kinds(settings=settings, schedule=schedule, topology=topology)
    check_whole_weights(options.score.weights)
    _check_options(options)
    if topology is not None:
        ways = spreads(grid.size("sequence"), inputs.kv_heads, grid.size("batch"), grid.size("heads"))
        settings = settings_for(chosen, q_len, inputs, ways, settings=settings, topology=topology).settings
    chosen_settings = settings or Settings()
    sharing = _sharing(grid, inputs, chosen_settings.spread)
    if group is not None and sharing.spread > 1:
        _check_whole(group)
    nodes = _nodes(topology, grid, sharing)
    problem = Problem(chosen, q_len, sharing.parts, inputs, nodes)
    made = problem.schedule(chosen_settings) if schedule is None else schedule
    _check_fits(made, q_len, sharing.parts)
    check_schedule(made)
    if schedule is not None:  # what was planned here is proved by construction
        check_covers(made, problem)
    schedule_of(made, grid, inputs, sharing.spread)
    lines = Lines(grid, sharing.spread, timeout)
    op = DistributedAttention(chosen, made, chosen_settings, grid, sharing, nodes, lines, inputs, options)
    op.agreement.settle()
    lines.open()
    return op


def _check_kinds(**given: object) -> None:
    """Raise ConfigError for a name, or a mapping, in place of what it stands for."""
    for name, value in given.items():
        kind, fix = KINDS[name]
        if value is not None and not isinstance(value, kind):
            raise ConfigError(f"{name}={value!r}.", rule=f"It is of attncc.distributed.{kind.__name__}.", fix=fix)


def _check_options(options: Options) -> None:
    """Raise, before anything is planned, what the first call would."""
    if options.scale is not None:
        check_scale(options.scale)
    check_backend(options.backend)
    if options.backend is not None:
        backends.get(options.backend)


def _sharing(grid: Grid, inputs: Inputs, spread: int) -> Sharing:
    """Return how ranks share heads and tokens; without a spread, heads may be as many as the tensors have later."""
    ranks = grid.size("sequence")
    if spread == 1:
        return Sharing(parts=ranks)
    if ranks % spread:
        raise ConfigError(
            f"spread={spread} on {ranks} ranks that share a sequence.",
            rule="They fall into groups of so many.",
            fix=f"Choose a spread that divides {ranks}.",
        )
    found = Sharing(heads=grid.size("heads"), parts=ranks // spread, spread=spread)
    found.check(inputs)
    return found


def _nodes(topology: Topology | None, grid: Grid, sharing: Sharing) -> Array | None:
    """Return the node of each part, as the first sequence group has them; None where nobody said."""
    if topology is None:
        return None
    whole = replace(sharing, batch=grid.size("batch"), heads=grid.size("heads"))
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
    if (partition.cut.length, partition.ranks) != (length, parts):
        raise DistributedError(
            f"The schedule is for {partition.cut.length} tokens on {partition.ranks} ranks.",
            rule=f"Here are {length} tokens on {parts} ranks.",
            fix="Plan one for these, or give settings in its place.",
        )
