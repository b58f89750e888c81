"""Attention over a sequence that ranks share: what each rank calls with its shard."""

from __future__ import annotations

import copy
from collections import deque
from dataclasses import replace
from functools import cached_property
from typing import NoReturn

import torch
from torch import Tensor

from attncc.backends.inputs import Inputs
from attncc.distributed.execution import shards
from attncc.distributed.execution.agreement import Agreement, digest
from attncc.distributed.execution.forward import Run
from attncc.distributed.execution.inner import Inner
from attncc.distributed.execution.lines import Lines
from attncc.distributed.execution.manifest import Manifest
from attncc.distributed.execution.mesh import Grid
from attncc.distributed.execution.once import refuse_export, refuse_transforms
from attncc.distributed.execution.run import attend
from attncc.distributed.execution.sample import Sample
from attncc.distributed.execution.sizes import Sizes, check_same_weights, check_whole_weights
from attncc.distributed.execution.swap import Swap
from attncc.distributed.execution.tables import RankTables
from attncc.distributed.schedules import traffic
from attncc.distributed.schedules.problem import Problem
from attncc.distributed.schedules.schedule import Schedule
from attncc.distributed.schedules.settings import Settings
from attncc.distributed.schedules.sharing import Sharing, kept, steps
from attncc.distributed.schedules.validity import check_schedule
from attncc.errors import DistributedError, ShapeError
from attncc.frontend.patterns import Pattern, PatternFactory, as_pattern
from attncc.frontend.scores import Score
from attncc.ir.symbols import B, H
from attncc.ir.tables import Array
from attncc.planner.directions import DIRECTIONS
from attncc.runtime.api import Result
from attncc.runtime.arguments import Options, scale_of
from attncc.runtime.carried import is_leaving
from attncc.runtime.held_scores import HeldScore

#: Sizes of calls that a re-planned operator is prepared for: those of a few microbatches, with and without gradients.
SAMPLES = 4


class DistributedAttention(torch.nn.Module):
    """Attention over a sequence that ranks share; made by `compile`, called by all ranks with their shards.

    schedule: what travels and is computed, for all heads and batch entries. grid: the mesh, and where this rank stands.
    sharing: how the ranks of its sequence groups divide heads and tokens. nodes: of the parts, None if they are in one.
    lines: what ranks exchange on. score: holds the score's weights, as parameters and buffers by their names.
    agreement: whether all ranks have made the same, which they ask before they exchange anything else. A deep copy,
    such as that of a model that holds one, has copies of the weights and exchanges on the same lines.
    """

    def __init__(
        self,
        pattern: Pattern,
        schedule: Schedule,
        settings: Settings,
        grid: Grid,
        sharing: Sharing,
        nodes: Array | None,
        lines: Lines,
        inputs: Inputs,
        options: Options,
        score: HeldScore | None = None,
        seen: deque[Sample] | None = None,
    ) -> None:
        """Make it; `score` and `seen` are those of another one that it shares the weights and samples with."""
        super().__init__()
        self.pattern, self.schedule, self.settings = pattern, schedule, settings
        self.grid, self.sharing, self.nodes, self.lines = grid, sharing, nodes, lines
        self.inputs = inputs
        self.score = HeldScore(options.score) if score is None else score
        self._others = options[1:]
        self._runs: dict[tuple[int, int, str], Run] = {}
        self._seen: deque[Sample] = deque(maxlen=SAMPLES) if seen is None else seen
        call = options.call(pattern)
        facts = (pattern.key, call.score, inputs, options.scale, options.return_lse, grid, sharing)
        own = digest(schedule, (*facts, call.backend, call.config))
        channels, peers = list(lines.dims.values()), grid.size("sequence")
        self.agreement = Agreement(own, self._manifest, peers, channels, grid.device)

    @property
    def options(self) -> Options:
        """The options of a call, the score on the weights that there are now."""
        return Options(self.score(), *self._others)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Result:
        """Return this rank's rows of attention over all tokens, as attncc.attention does, differentiable.

        query (B, Hq, n, D), key (B, Hkv, n, D) and value (B, Hkv, n, Dv): this rank's batch entries, heads and tokens,
        the last in ascending position as `positions()` gives them. All ranks call it, and its backward, in step. The
        gradient of a score's weights, which are the same on all ranks, is that of what this rank computes, as that of
        any parameter: those of all ranks of the mesh add up to the whole, which DistributedDataParallel sees to.

        Raises ShapeError and what attncc.attention raises before anything is sent, and DistributedError, whose `rank`
        is the one to blame, where an exchange fails or takes longer than the timeout; ExportError under torch.export
        and torch.jit.trace.
        """
        if is_leaving():
            refuse_export(self)
        found: Result = self._attended(query, key, value)
        return found

    # A compiled graph breaks here: tracing through planning takes minutes, and exchanges are no part of a graph.
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _attended(self, query: Tensor, key: Tensor, value: Tensor) -> Result:
        refuse_transforms()
        options = self.options
        score, return_lse = options.score, options.return_lse
        query, key, value = options.checked(query, key, value)
        self._check_shard(query, key, score)
        check_whole_weights(score.weights)
        factor = scale_of(options.scale, query)
        self.agreement.settle()
        sizes = Sizes.of(query, key, value, score.tensors)
        self.lines.compare(sizes)
        self.lines.compare_weights(self.score)
        if self._swap is not None:
            query, key, value = self._swap.to_heads(query, key, value)
        sample = Sample.of(query, key, value)
        if sample not in self._seen:
            self._seen.append(sample)
        run = self._run(query.shape[0], query.shape[1], options)
        out, lse = attend(replace(run, call=str(sizes)), query, key, value, score.tensors, factor)
        wanted = (out, lse) if return_lse else (out,)
        found = wanted if self._swap is None else self._swap.to_tokens(*wanted)
        return (found[0], found[1]) if return_lse else found[0]

    def replanned(self, pattern: Pattern | PatternFactory) -> DistributedAttention:
        """Return the same for another pattern, such as the documents of another step; tokens stay where they are.

        All ranks call it alike, but nothing is sent: they compare what they have made when the result is first called,
        which raises DistributedError on all of them if it differs. What runs on tensors of the last sizes that it saw
        is planned, too. Raises what planning raises. May be called in another thread, see `ahead`.
        """
        chosen, partition = as_pattern(pattern), self.schedule.partition
        problem = Problem(chosen, partition.cut.length, partition.ranks, self.inputs, self.nodes)
        made = problem.scheduled(partition, self.settings)
        check_schedule(made)
        shards.schedule_of(made, self.grid, self.inputs, self.sharing.spread)
        found = self._remade(chosen, made, self.score)
        found.agreement.prepare()
        for sample in list(self._seen):
            found._run(sample.query[0], sample.query[1], found.options).prepare(sample)
        return found

    def check_weights(self) -> None:
        """Raise DistributedError on every rank of the mesh unless all have the same weights of the score. Collective.

        The first call does so; call it later to see whether ranks still train alike.
        """
        check_same_weights(self.score().weights, list(self.lines.dims.values()), self.grid.device)

    def __copy__(self) -> DistributedAttention:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> DistributedAttention:
        return self._remade(self.pattern, self.schedule, copy.deepcopy(self.score, memo))

    def _remade(self, pattern: Pattern, schedule: Schedule, score: HeldScore) -> DistributedAttention:
        """Return the same for another pattern, or on other weights."""
        options = Options(score(), *self._others)
        rest = (self.settings, self.grid, self.sharing, self.nodes, self.lines, self.inputs, options, score, self._seen)
        return DistributedAttention(pattern, schedule, *rest)

    def __reduce__(self) -> NoReturn:
        raise DistributedError(
            f"{self!r} was to be pickled.",
            rule="It exchanges with the ranks of this process's group, which no file and no other process has.",
            fix="Save the model's state_dict(), and compile the attention where it is loaded.",
        )

    def __repr__(self) -> str:
        return f"DistributedAttention({self.pattern!r}, {self.schedule.partition.cut.length} tokens on {self.grid})"

    def positions(self, rank: int | None = None) -> Tensor:
        """Return the positions of the tokens of a rank of the sequence group, by default this one: int64, ascending."""
        shard = self.grid.shard("sequence") if rank is None else rank
        ranks = self.grid.size("sequence")
        if not isinstance(shard, int) or isinstance(shard, bool) or not 0 <= shard < ranks:
            raise DistributedError(
                f"rank={rank!r}.",
                rule=f"The sequence is shared by ranks 0 to {ranks - 1}.",
                fix="Leave rank out for this one.",
            )
        return torch.from_numpy(self.sharing.positions(self.schedule.partition, shard))

    def shard(self, x: Tensor, *, batch: int | None = 0, heads: int | None = 1, sequence: int | None = 2) -> Tensor:
        """Return this rank's part of a whole tensor, by default (B, H, N, ...).

        The arguments are the dimensions, None where x has none: `shard(ids, heads=None, sequence=1)`.
        """
        return shards.shard(self.grid, self.positions(), self.schedule.partition.cut.length, x, batch, heads, sequence)

    def unshard(self, x: Tensor, *, batch: int | None = 0, heads: int | None = 1, sequence: int | None = 2) -> Tensor:
        """Return the whole tensor of which every rank gives its part, on all of them. Without gradient; collective."""
        positions = [self.positions(rank) for rank in range(self.grid.size("sequence"))]
        own = self.grid.shard("sequence")
        return shards.unshard(self.lines.dims, positions, own, x, batch, heads, sequence)

    def describe(self) -> str:
        """Return who owns how much, what travels and what is kept, in words; for `inputs`, by ranks of a sequence."""
        partition, inputs = self.schedule.partition, self.inputs
        received = [traffic.received(flows, self.grid.size("sequence")) for flows in self.flows()]
        lines = [
            f"{self.pattern!r} over {partition.cut.length} tokens on {self.grid}",
            f"partition {partition.name}: units of {partition.cut.size}, "
            f"{partition.counts.min()} to {partition.counts.max()} tokens a rank",
            f"{self.schedule.rounds} rounds, {len(self.schedule.lanes)} lanes"
            + (", and results of queries that travel come back" if self.schedule.returns else "")
            + (f", groups of {self.sharing.spread} swap sequence for heads" if self.sharing.spread > 1 else ""),
        ]
        for name, sums in zip(DIRECTIONS, received, strict=True):
            lines.append(f"{name}: {sums.sum()} bytes travel, {sums.max()} to the busiest rank ({inputs.dtype})")
        most = kept(self.schedule, inputs, self.sharing).max()
        lines.append(f"memory: up to {most} bytes of other ranks' rows are kept on a rank for the backward")
        return "\n".join(lines)

    def flows(self) -> tuple[list[traffic.Flow], list[traffic.Flow]]:
        """Return what travels in each round of the forward and the backward, for `inputs`.

        Between the ranks of a sequence group, those of all shards of batch entries and heads added up.
        """
        lse = max(4, self.inputs.itemsize) if self.options.return_lse else 0
        found = [
            [step.flow for step in steps(self.schedule, self.inputs, self.sharing, direction, lse)]
            for direction in DIRECTIONS
        ]
        forward, backward = ([flow.folded(self.grid.size("sequence")) for flow in flows] for flows in found)
        return forward, backward

    @cached_property
    def _swap(self) -> Swap | None:
        """The swap of sequence for heads within this rank's part, if there is one."""
        if self.lines.within is None:
            return None
        first, number = divmod(self.grid.shard("sequence"), self.sharing.spread)
        first *= self.sharing.spread
        tokens = self.sharing.tokens(self.schedule.partition.counts)[first : first + self.sharing.spread]
        return Swap(self.lines.within, number, tuple(tokens.tolist()))

    @cached_property
    def _tables(self) -> RankTables:
        """What this rank does."""
        spread = self.sharing.spread
        own = shards.schedule_of(self.schedule, self.grid, self.inputs, spread)
        return RankTables.of(own, self.grid.shard("sequence") // spread)

    def _manifest(self) -> Manifest:
        """Return what this rank exchanges with those of the other parts that have the same share of heads."""
        share = self.grid.shard("sequence") % self.sharing.spread
        return Manifest.of(self._tables, self.grid.ranks("sequence")[share :: self.sharing.spread])

    def _check_shard(self, query: Tensor, key: Tensor, score: Score) -> None:
        """Raise ShapeError unless the tensors are this rank's shard."""
        shard = self.grid.shard("sequence")
        tokens = int(self.sharing.tokens(self.schedule.partition.counts)[shard])
        free = self.pattern.predicate.free | score.expression.free
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
        if kv_heads % self.sharing.spread:
            raise ShapeError(
                f"{kv_heads} key heads on rank {shard} of the sequence.",
                rule=f"{self.sharing.spread} ranks swap their sequence for equal shares of them.",
                fix=f"Compile with a spread that divides {kv_heads}.",
            )

    def _run(self, batch: int, heads: int, options: Options) -> Run:
        """Return the run for so many batch entries and query heads on a rank; it keeps no weights."""
        expression = options.score.expression
        wanted = batch, heads, expression.key
        if wanted not in self._runs:
            grid, spread = self.grid, self.sharing.spread
            share = grid.shard("sequence") % spread
            inner = Inner(
                self.pattern,
                options._replace(score=Score.of(expression)),
                self.schedule.partition.cut.length,
                grid.shard("batch") * batch,
                (grid.shard("heads") * spread + share) * heads,
            )
            self._runs[wanted] = Run.of(self._tables, inner, self.lines.between)
        return self._runs[wanted]
