"""Attention over a sequence that ranks share: what each rank calls with its shard."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from typing import NoReturn

import torch
from torch import Tensor

from attncc.distributed.execution import shards
from attncc.distributed.execution.agreement import (
    Agreement,
    CallSizes,
    Manifest,
    check_same_weights,
    check_whole_weights,
    digest,
)
from attncc.distributed.execution.autograd import attend
from attncc.distributed.execution.deployment import Deployment
from attncc.distributed.execution.first_order import refuse_export, refuse_transforms
from attncc.distributed.execution.forward import Run
from attncc.distributed.execution.swap import Swap
from attncc.distributed.execution.tables import RankTables
from attncc.distributed.execution.task_executables import TaskExecutables
from attncc.distributed.schedules import traffic
from attncc.distributed.schedules.schedule import Schedule
from attncc.distributed.schedules.sharing import kept, steps
from attncc.errors import DistributedError, ShapeError
from attncc.frontend.accepted import AnyPattern, accepted_pattern
from attncc.frontend.patterns import Pattern
from attncc.frontend.scores import Score
from attncc.ir.score import ScoreExpression
from attncc.ir.symbols import B, H
from attncc.planner.directions import DIRECTIONS
from attncc.runtime.arguments import checked, scale_of
from attncc.runtime.call import AttentionCall, Result
from attncc.runtime.export import is_exporting
from attncc.runtime.score_module import ScoreModule

#: Sizes of calls that a re-planned operator is prepared for: of a few microbatches, with and without gradients.
MOST_SEEN = 4


class DistributedAttention(torch.nn.Module):
    """Attention over a sequence that ranks share; made by `compile`, called by all ranks with their shards.

    A deep copy, such as that of a model that holds one, has copies of the weights and exchanges on the same
    communicators.

    Attributes:
        pattern: As it was given to `compile`.
        length: Tokens of the whole sequence.
        schedule: What travels and is computed, for all heads and batch entries.
        deployment: How ranks share the sequence; `mesh`, `inputs`, `settings`, `sharing` and `communicators` are its
            own.
        call: The arguments of a call besides tensors.
        score: Holds the score's weights, as parameters and buffers by their names.
        agreement: The comparison of what ranks have made, before they exchange anything else.
    """

    def __init__(
        self,
        pattern: Pattern,
        schedule: Schedule,
        deployment: Deployment,
        call: AttentionCall,
        score: ScoreModule,
        seen: deque[tuple[CallSizes, torch.device]] | None = None,
    ) -> None:
        """Make it; `seen` is that of another one, whose sizes of calls it shares."""
        super().__init__()
        self.pattern, self.schedule, self.deployment = pattern, schedule, deployment
        self.mesh, self.inputs, self.settings, self.sharing, _, self.communicators = deployment
        self.length = schedule.partition.chunking.length
        self.score = score
        self.call = call
        self._runs: dict[tuple[int, int, str], Run] = {}
        self._seen: deque[tuple[CallSizes, torch.device]] = deque(maxlen=MOST_SEEN) if seen is None else seen
        tables = tuple(table.digest for table in pattern.tables)
        mesh = self.mesh
        scored = score().expression.on_host.key
        facts = (pattern.template.fingerprint, tables, scored, self.inputs, call.scale, mesh, self.sharing)
        own = digest(schedule, (*facts, call.return_lse, call.return_max_scores, call.backend, call.config))
        channels, peers = list(self.communicators.dims.values()), mesh.size("sequence")
        self.agreement = Agreement(own, self._manifest, peers, channels, mesh.device)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Result:
        """Return this rank's rows of attention over all tokens, as attncc.attention does, differentiable.

        All ranks call it, and its backward, in step. Weights of a score are the same on all ranks. Their gradient on a
        rank is that of what the rank computes: the sum over all ranks of the mesh is the whole, as for any parameter,
        and DistributedDataParallel adds it up.

        Args:
            query: (B, Hq, n, D), this rank's batch entries, heads and tokens, in the order of `positions()`.
            key: (B, Hkv, n, D).
            value: (B, Hkv, n, Dv).

        Returns:
            out (B, Hq, n, Dv), and lse and the greatest scores (B, Hq, n) if `compile` was asked for them.

        Raises:
            ShapeError: For tensors that aren't this rank's shard, before anything is sent, as for all that
                attncc.attention raises.
            DistributedError: Where an exchange fails or takes longer than the timeout; `rank` is the one to blame.
            ExportError: Under torch.export, torch.jit.trace and make_fx.
        """
        if is_exporting():
            refuse_export(self)
        found: Result = self._attended(query, key, value)
        return found

    # A compiled graph breaks here: tracing through planning takes minutes, and exchanges aren't part of a graph.
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _attended(self, query: Tensor, key: Tensor, value: Tensor) -> Result:
        refuse_transforms()
        score = self.score()
        query, key, value = checked(query, key, value, self.call, score)
        self._check_shard(query, key, score)
        check_whole_weights(score.weights)
        factor = scale_of(self.call.scale, query)
        self.agreement.settle()
        sizes = CallSizes.of(query, key, value, score.tensors)
        self.communicators.compare(sizes)
        self.communicators.compare_weights(self.score)
        if self._swap is not None:
            query, key, value = self._swap.to_heads(query, key, value)
        seen = CallSizes.of(query, key, value, score.tensors), query.device
        if seen not in self._seen:
            self._seen.append(seen)
        run = self._run(query.shape[0], query.shape[1], score.expression)
        out, lse, *greatest = attend(replace(run, call=str(sizes)), query, key, value, score.tensors, factor)
        wanted = (out, *([lse] if self.call.return_lse else []), *greatest)
        found = wanted if self._swap is None else self._swap.to_tokens(*wanted)
        return found if len(found) > 1 else found[0]

    def replanned(self, pattern: AnyPattern) -> DistributedAttention:
        """Return the same for another pattern, such as the documents of another step; tokens stay where they are.

        All ranks call it alike, but nothing is sent: ranks compare what they have made when the result is first called,
        which raises DistributedError on all of them if they differ. Tasks on tensors of the sizes of recent calls are
        planned, too. May be called in another thread, see `ahead`. Raises what planning raises.
        """
        chosen = accepted_pattern(pattern)
        problem = self.deployment.problem(chosen, self.length)
        made = problem.scheduled(self.schedule.partition, self.settings)
        self.deployment.check(made)
        found = self._remade(chosen, made, self.score)
        found.agreement.prepare()
        for sizes, device in list(self._seen):
            found._run(sizes.batch, sizes.heads, found.score().expression).prepare(sizes, device)
        return found

    def check_weights(self) -> None:
        """Raise DistributedError on every rank of the mesh unless all have the same weights of the score. Collective.

        The first call does so; call it later to see whether ranks still train alike.
        """
        check_same_weights(self.score().weights, list(self.communicators.dims.values()), self.mesh.device)

    def __copy__(self) -> DistributedAttention:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> DistributedAttention:
        return self._remade(self.pattern, self.schedule, copy.deepcopy(self.score, memo))

    def _remade(self, pattern: Pattern, schedule: Schedule, score: ScoreModule) -> DistributedAttention:
        """Return the same for another pattern, or on other weights."""
        call = self.call._replace(pattern=pattern.handle, score=score().key)
        return DistributedAttention(pattern, schedule, self.deployment, call, score, self._seen)

    def __reduce__(self) -> NoReturn:
        raise DistributedError(
            f"{self!r} was to be pickled.",
            rule="It exchanges with the ranks of this process's group, which no file and no other process has.",
            fix="Save the model's state_dict(), and compile the attention where it is loaded.",
        )

    def __repr__(self) -> str:
        return f"DistributedAttention({self.pattern!r}, {self.length} tokens on {self.mesh})"

    def positions(self, rank: int | None = None) -> Tensor:
        """Return the positions of the tokens of a rank of the sequence group, by default this one: int64, ascending."""
        shard = self.mesh.shard("sequence") if rank is None else rank
        ranks = self.mesh.size("sequence")
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
        return shards.shard(self.mesh, self.positions(), self.length, x, batch, heads, sequence)

    def unshard(self, x: Tensor, *, batch: int | None = 0, heads: int | None = 1, sequence: int | None = 2) -> Tensor:
        """Return the whole tensor of which every rank gives its part, on all of them. Without gradient; collective."""
        positions = [self.positions(rank) for rank in range(self.mesh.size("sequence"))]
        own = self.mesh.shard("sequence")
        return shards.unshard(self.communicators.dims, positions, own, x, batch, heads, sequence)

    def describe(self) -> str:
        """Return who owns how much, what travels and what is kept, in words; for `inputs`, by ranks of a sequence."""
        schedule, partition, degree = self.schedule, self.schedule.partition, self.sharing.ulysses_degree
        least, most = partition.counts.min(), partition.counts.max()
        returned = ", and results of queries that travel come back" if schedule.returns else ""
        swapped = f", groups of {degree} swap sequence for heads" if degree > 1 else ""
        lines = [
            f"{self.pattern!r} over {self.length:,} tokens, ranks: {self.mesh}",
            f"partition {partition.name}: units of {partition.chunking.size:,}, {least:,} to {most:,} tokens a rank",
            f"rounds: {schedule.rounds}, head classes: {len(schedule.head_classes)}{returned}{swapped}",
        ]
        for name, flows in zip(DIRECTIONS, self.flows(), strict=True):
            sums = traffic.received(flows, self.mesh.size("sequence"))
            whole, busiest = f"{sums.sum():,} bytes travel", f"{sums.max():,} to the busiest rank"
            lines.append(f"{name}: {whole}, {busiest} ({self.inputs.dtype})")
        held = kept(schedule, self.inputs, self.sharing).max()
        lines.append(f"memory: up to {held:,} bytes of other ranks' rows are kept on a rank for the backward")
        return "\n".join(lines)

    def flows(self) -> tuple[list[traffic.Flow], list[traffic.Flow]]:
        """Return what travels in each round of the forward and the backward, for `inputs`.

        Between the ranks of a sequence group, those of all shards of batch entries and heads added up.
        """
        size = max(4, self.inputs.itemsize)
        rows = size * self.call.return_lse, size * self.call.return_max_scores
        by_direction = (steps(self.schedule, self.inputs, self.sharing, name, *rows) for name in DIRECTIONS)
        ranks = self.mesh.size("sequence")
        forward, backward = ([step.flow.folded(ranks) for step in found] for found in by_direction)
        return forward, backward

    @cached_property
    def _swap(self) -> Swap | None:
        """The swap of sequence for heads within this rank's part, if there is one."""
        if self.communicators.within is None:
            return None
        first, number = divmod(self.mesh.shard("sequence"), self.sharing.ulysses_degree)
        first *= self.sharing.ulysses_degree
        tokens = self.sharing.tokens(self.schedule.partition.counts)[first : first + self.sharing.ulysses_degree]
        return Swap(self.communicators.within, number, tuple(tokens.tolist()))

    @cached_property
    def _tables(self) -> RankTables:
        """What this rank does."""
        part = self.mesh.shard("sequence") // self.sharing.ulysses_degree
        return RankTables.of(self.deployment.own(self.schedule), part)

    def _manifest(self) -> Manifest:
        """Return what this rank exchanges with those of the other parts that have the same share of heads."""
        share = self.mesh.shard("sequence") % self.sharing.ulysses_degree
        return Manifest.of(self._tables, self.mesh.ranks("sequence")[share :: self.sharing.ulysses_degree])

    def _check_shard(self, query: Tensor, key: Tensor, score: Score) -> None:
        """Raise ShapeError unless the tensors are this rank's shard."""
        shard = self.mesh.shard("sequence")
        tokens = int(self.sharing.tokens(self.schedule.partition.counts)[shard])
        free = self.pattern.free | score.expression.free
        batch = len(self.mesh.part("batch", self.inputs.batch)) if B in free else query.shape[0]
        heads = len(self.mesh.part("heads", self.inputs.heads)) if H in free else query.shape[1]
        kv_heads = len(self.mesh.part("heads", self.inputs.kv_heads)) if H in free else key.shape[1]
        wanted = (batch, heads, tokens), (batch, kv_heads, tokens)
        if (tuple(query.shape[:3]), tuple(key.shape[:3])) != wanted:
            raise ShapeError(
                f"query {tuple(query.shape)} and key {tuple(key.shape)} on rank {shard} of the sequence.",
                rule=f"It owns {tokens} of {self.length} tokens: query is "
                f"({batch}, {heads}, {tokens}, D) and key ({batch}, {kv_heads}, {tokens}, D).",
                fix="Cut tensors with op.shard(x), or by op.positions().",
            )
        if kv_heads % self.sharing.ulysses_degree:
            raise ShapeError(
                f"{kv_heads} key heads on rank {shard} of the sequence.",
                rule=f"{self.sharing.ulysses_degree} ranks swap their sequence for equal shares of them.",
                fix=f"Compile with a spread that divides {kv_heads}.",
            )

    def _run(self, batch: int, heads: int, expression: ScoreExpression) -> Run:
        """Return the run for `batch` batch entries and `heads` query heads on a rank; it keeps no weights."""
        wanted = batch, heads, expression.key
        if wanted not in self._runs:
            mesh, ulysses_degree = self.mesh, self.sharing.ulysses_degree
            share = mesh.shard("sequence") % ulysses_degree
            executables = TaskExecutables(
                self.pattern,
                self.call,
                expression,
                self.length,
                mesh.shard("batch") * batch,
                (mesh.shard("heads") * ulysses_degree + share) * heads,
            )
            self._runs[wanted] = Run(self._tables, executables, self.communicators.between)
        return self._runs[wanted]


def ahead(op: DistributedAttention, patterns: Iterable[AnyPattern]) -> Iterator[DistributedAttention]:
    """Yield `op.replanned(pattern)` for each pattern, the next of which is planned while the caller uses this one.

    One pattern is taken ahead, no more, in a thread that ends with the iterator, which also takes them from
    `patterns`. What taking and planning raise is raised to the caller in its turn. Exchanges stay in the caller's
    thread: all ranks take the same patterns, and call each attention in step.
    """
    source = iter(patterns)

    def following() -> DistributedAttention | None:
        pattern = next(source, None)
        return None if pattern is None else op.replanned(pattern)

    with ThreadPoolExecutor(1, "attncc-ahead") as pool:
        coming = pool.submit(following)
        while (found := coming.result()) is not None:
            coming = pool.submit(following)
            yield found
