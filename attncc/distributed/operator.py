"""compile(): a pattern, a length and a mesh of ranks become an attention that each rank calls with its shard."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh

from attncc import executables
from attncc.backends.inputs import Inputs
from attncc.distributed import shards, traffic
from attncc.distributed.agreement import agree, digest
from attncc.distributed.forward import Run
from attncc.distributed.inner import Inner
from attncc.distributed.lanes import localised
from attncc.distributed.mesh import Grid, grid_of
from attncc.distributed.problem import Problem
from attncc.distributed.run import attend
from attncc.distributed.schedule import Schedule
from attncc.distributed.selection import settings_for
from attncc.distributed.settings import Settings
from attncc.distributed.sharing import Sharing
from attncc.distributed.tables import RankTables
from attncc.distributed.topology import Topology
from attncc.distributed.validity import check_schedule
from attncc.errors import ConfigError, DistributedError, ShapeError
from attncc.executables import Config
from attncc.functional import Result, autocast, check_tensors, check_types, check_weights, scale_of
from attncc.ir.symbols import B, H
from attncc.patterns import Pattern, PatternFactory, as_pattern
from attncc.scores import Score, ScoreFactory, as_score


@dataclass(frozen=True, eq=False)
class DistributedAttention:
    """Attention over a sequence that ranks share; made by `compile`, called by all ranks with their shards.

    schedule: what travels and is computed, for all heads and batch entries of the sequence group. grid: the mesh, and
    where this rank stands.
    """

    pattern: Pattern
    schedule: Schedule
    grid: Grid
    inputs: Inputs
    score: Score
    scale: float | None
    enable_gqa: bool
    return_lse: bool
    backend: str
    config: str
    timeout: float | None
    _runs: dict[tuple[int, int], Run] = field(default_factory=dict, init=False, repr=False)

    def __call__(self, query: Tensor, key: Tensor, value: Tensor) -> Result:
        """Return this rank's rows of attention over all tokens, as attncc.attention does, differentiable.

        query (B, Hq, n, D), key (B, Hkv, n, D) and value (B, Hkv, n, Dv): this rank's batch entries, heads and tokens,
        the last in ascending position as `positions()` gives them. All ranks call it, and its backward, in step. The
        gradient of a score's weights is this rank's share: add those of all ranks up.

        Raises ShapeError and what attncc.attention raises before anything is sent; and what torch.distributed raises.
        """
        check_types(query, key, value, self.backend)
        query, key, value = autocast(query, key, value)
        check_tensors(query, key, value, self.enable_gqa, 0)
        check_weights(self.score.weights, query)
        self._check_shard(query, key)
        factor = scale_of(self.scale, query)
        out, lse = attend(self._run(query.shape[0], query.shape[1]), query, key, value, self.score.tensors, factor)
        return (out, lse) if self.return_lse else out

    def positions(self, rank: int | None = None) -> Tensor:
        """Return the positions of the tokens of a rank of the sequence group, by default this one: int64, ascending."""
        shard = self.grid.shard("sequence") if rank is None else rank
        ranks = self.schedule.partition.ranks
        if not 0 <= shard < ranks:
            raise DistributedError(f"rank={rank}.", rule=f"The sequence is shared by ranks 0 to {ranks - 1}.")
        return torch.from_numpy(self.schedule.partition.tokens(shard))

    def shard(self, x: Tensor, *, batch: int | None = 0, heads: int | None = 1, sequence: int | None = 2) -> Tensor:
        """Return this rank's part of a whole tensor, by default (B, H, N, ...).

        The arguments are the dimensions, None where x has none: `shard(ids, heads=None, sequence=1)`.
        """
        return shards.shard(self.grid, self.positions(), self.schedule.partition.cut.length, x, batch, heads, sequence)

    def unshard(self, x: Tensor, *, batch: int | None = 0, heads: int | None = 1, sequence: int | None = 2) -> Tensor:
        """Return the whole tensor of which every rank gives its part, on all of them. Without gradient; collective."""
        positions = [self.positions(rank) for rank in range(self.schedule.partition.ranks)]
        return shards.unshard(self.grid, positions, x, batch, heads, sequence)

    def describe(self) -> str:
        """Return who owns how much, and what travels, in words."""
        partition, inputs = self.schedule.partition, self.inputs
        received = [traffic.received(flows, partition.ranks) for flows in self.flows()]
        lines = [
            f"{self.pattern!r} over {partition.cut.length} tokens on {self.grid}",
            f"partition {partition.name}: units of {partition.cut.size}, "
            f"{partition.counts.min()} to {partition.counts.max()} tokens a rank",
            f"{self.schedule.rounds} rounds, {len(self.schedule.lanes)} lanes"
            + (", and results of queries that travel come back" if self.schedule.returns else ""),
        ]
        for name, sums in zip(("forward", "backward"), received, strict=True):
            lines.append(f"{name}: {sums.sum()} bytes travel, {sums.max()} to the busiest rank ({inputs.dtype})")
        return "\n".join(lines)

    def flows(self) -> tuple[list[traffic.Flow], list[traffic.Flow]]:
        """Return what travels in each round of the forward and the backward, for `inputs`."""
        return traffic.forward(self.schedule, self.inputs), traffic.backward(self.schedule, self.inputs)

    def _check_shard(self, query: Tensor, key: Tensor) -> None:
        """Raise ShapeError unless the tensors are this rank's shard."""
        shard = self.grid.shard("sequence")
        tokens = int(self.schedule.partition.counts[shard])
        free = self.pattern.predicate.free | self.score.expression.free
        batch = len(self.grid.part("batch", self.inputs.batch)) if B in free else query.shape[0]
        heads = len(self.grid.part("heads", self.inputs.heads)) if H in free else query.shape[1]
        kv_heads = len(self.grid.part("heads", self.inputs.kv_heads)) if H in free else key.shape[1]
        wanted = (batch, heads, tokens), (batch, kv_heads, tokens)
        if (tuple(query.shape[:3]), tuple(key.shape[:3])) != wanted:
            raise ShapeError(
                f"query {tuple(query.shape)} and key {tuple(key.shape)} on rank {shard} of the sequence.",
                rule=f"It owns {tokens} of {self.schedule.partition.cut.length} tokens: query is "
                f"({batch}, {heads}, {tokens}, D) and key ({batch}, {kv_heads}, {tokens}, D).",
                fix="Cut tensors with op.shard(x), or by op.positions().",
            )

    def _run(self, batch: int, heads: int) -> Run:
        """Return the run for so many batch entries and query heads on a rank."""
        if (batch, heads) not in self._runs:
            grid = self.grid
            inner = Inner(
                self.pattern,
                self.score.expression,
                self.schedule.partition.cut.length,
                self.backend,
                self.config,
                grid.shard("batch") * batch,
                grid.shard("heads") * heads,
            )
            tables = RankTables.of(local_schedule(self.schedule, grid, self.inputs), grid.shard("sequence"))
            self._runs[batch, heads] = Run.of(tables, inner, grid.groups.get("sequence"), self.timeout)
        return self._runs[batch, heads]


def local_schedule(schedule: Schedule, grid: Grid, inputs: Inputs) -> Schedule:
    """Return the schedule of the batch entries and heads of this rank's sequence group, numbered from 0.

    Raises DistributedError where these differ and the ranks of a mesh can't have equally many.
    """
    if all(lane.members is None for lane in schedule.lanes):
        return schedule
    return localised(schedule, grid.part("batch", inputs.batch), grid.part("heads", inputs.kv_heads))


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
    against moving queries. settings: how tokens are shared and travel; or a `schedule` as it is to be run; or the
    `topology` of all ranks, for which selection.settings_for finds what was tuned, or is fast. timeout: seconds that an
    exchange may take, else the group's own limit. Other options are those of attncc.attention.

    Before it returns, ranks compare digests of what they have compiled. Raises DistributedError for a mesh that doesn't
    fit, a schedule that can't be run and ranks that differ, and what planning raises.
    """
    grid = grid_of(mesh, group)
    chosen, scored = as_pattern(pattern), as_score(score)
    inputs = Inputs(batch, heads, kv_heads or heads, head_dim, value_dim or head_dim, dtype)
    ranks = grid.size("sequence")
    if topology is not None:
        ways = [Sharing(grid.size("batch"), grid.size("heads"), ranks)]
        settings = settings_for(chosen, q_len, inputs, ways, settings=settings, topology=topology).settings
    made = schedule or _planned(chosen, q_len, ranks, inputs, settings or Settings())
    _check_fits(made, q_len, ranks)
    check_schedule(made)
    local_schedule(made, grid, inputs)
    text = executables.encoded(config)
    facts = (chosen.key, scored.key, q_len, inputs, scale, grid, backend, text)
    agree(digest(made, facts), [grid.groups[dim] for dim in grid.groups], grid.device)
    options = (scale, enable_gqa, return_lse, backend or "", text, timeout)
    return DistributedAttention(chosen, made, grid, inputs, scored, *options)


def _planned(pattern: Pattern, length: int, ranks: int, inputs: Inputs, settings: Settings) -> Schedule:
    if settings.spread != 1:
        raise ConfigError(
            f"spread={settings.spread}.",
            rule="Swapping sequence for heads is simulated, not run.",
            fix='Give the mesh a dimension "heads".',
        )
    return Problem(pattern, length, ranks, inputs).schedule(settings)


def _check_fits(schedule: Schedule, length: int, ranks: int) -> None:
    partition = schedule.partition
    if (partition.cut.length, partition.ranks) != (length, ranks):
        raise DistributedError(
            f"The schedule is for {partition.cut.length} tokens on {partition.ranks} ranks.",
            rule=f"Here are {length} tokens on {ranks} ranks.",
        )
