"""Baselines: what known ways to distribute attention would take, under the very same simulation.

They run the same block-sparse kernels at the same cost of a pair, and compute only the pairs of the pattern, at the
ranks where their way has them, although published implementations are dense or causal: this favours them. What they
send doesn't depend on the pattern. A transfer overlaps with computing wherever the way allows it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from attncc.backends.inputs import Inputs
from attncc.distributed.schedules.traffic import Step, received
from attncc.distributed.simulation.known import Gathering, Hybrid
from attncc.distributed.simulation.ranking import ranked
from attncc.distributed.simulation.simulate import makespan
from attncc.distributed.simulation.timeline import Timeline
from attncc.distributed.topology import Topology
from attncc.errors import TopologyError
from attncc.ir.tables import Array
from attncc.planner.directions import check_direction

#: Ways to cut a sequence into as many blocks as ranks.
ORDERS = ("contiguous", "striped")


@dataclass(frozen=True, eq=False)
class Case:
    """What baselines are compared on: a pattern's pairs, the inputs, and the devices of a topology.

    contiguous, striped: pairs between the queries of block r and the keys of block s, float64 (ranks, ranks), over all
    heads and batch entries, for the two ways to cut `length` tokens of `contiguous_blocks` and `striped_blocks`.
    seconds_per_pair, launch: by target, as in simulate.makespan; those of the backward for direction "backward".
    devices: the device of each rank, int64 (ranks,); None for the first ones. Raises TopologyError and ConfigError.
    """

    inputs: Inputs
    length: int
    contiguous: Array
    striped: Array
    topology: Topology
    seconds_per_pair: Mapping[str, float]
    launch: Mapping[str, float]
    direction: str = "forward"
    devices: Array | None = None

    def __post_init__(self) -> None:
        if self.contiguous.shape != (self.ranks, self.ranks) or self.striped.shape != self.contiguous.shape:
            raise TopologyError(
                f"Pairs between blocks of shapes {self.contiguous.shape} and {self.striped.shape}.",
                rule="Both are (ranks, ranks).",
                fix="Count both for the same number of ranks.",
            )
        if (
            len(self.placement) != self.ranks
            or not 0 <= self.placement.min() <= self.placement.max() < self.topology.count
        ):
            raise TopologyError(
                f"{self.ranks} ranks on devices {self.placement.tolist()} of topology {self.topology.name!r}.",
                rule=f"Each rank has one of its {self.topology.count} devices, numbered from 0.",
                fix="Take fewer ranks, or a larger topology.",
            )
        check_direction(self.direction)

    @property
    def ranks(self) -> int:
        """Number of ranks."""
        return len(self.contiguous)

    def pairs(self, order: str) -> Array:
        """Return the pairs between the blocks of an order, one of ORDERS."""
        return self.contiguous if order == "contiguous" else self.striped

    def tokens(self, order: str) -> Array:
        """Return the tokens of each block of an order, int64 (ranks,)."""
        blocks = contiguous_blocks if order == "contiguous" else striped_blocks
        return np.bincount(blocks(self.length, self.ranks), minlength=self.ranks)

    @property
    def placement(self) -> Array:
        """The device of each rank, int64 (ranks,)."""
        return np.arange(self.ranks) if self.devices is None else self.devices


@dataclass(frozen=True, eq=False)
class Baseline:
    """A known way: its timeline and the bytes that each rank receives, int64 (ranks,), in one direction.

    note: how it was set up, or where `timeline` is None and no bytes are received, why it isn't possible.
    """

    name: str
    timeline: Timeline | None
    received: Array
    total_bytes: int
    note: str = ""


def contiguous_blocks(length: int, ranks: int) -> Array:
    """Return the block of each token, int64 (length,): tokens k * length // ranks onwards are in block k."""
    bounds = np.arange(1, ranks) * length // ranks
    return np.searchsorted(bounds, np.arange(length), side="right")


def striped_blocks(length: int, ranks: int) -> Array:
    """Return the block of each token, int64 (length,): token t is in block t mod ranks."""
    return np.arange(length) % ranks


def baselines(case: Case) -> list[Baseline]:
    """Return all baselines, the impossible ones too."""
    return [ring(case), striped_ring(case), ulysses(case), usp(case), all_gather(case)]


def ring(case: Case) -> Baseline:
    """Ring attention (Liu et al., 2023): contiguous blocks, whose keys go round, whatever the mask."""
    return _hybrid(case, "ring", 1, "contiguous")


def striped_ring(case: Case) -> Baseline:
    """Striped attention (Brandon et al., 2023): the same ring, with token t at rank t mod P, which balances causal."""
    return _hybrid(case, "striped ring", 1, "striped")


def ulysses(case: Case) -> Baseline:
    """DeepSpeed-Ulysses (Jacobs et al., 2023): all-to-alls swap sequence for heads, and back.

    Key heads are sent to each rank that has one of their query heads. It isn't possible unless ranks divide the heads.
    """
    if case.inputs.heads % case.ranks:
        note = f"not possible: {case.ranks} ranks don't divide {case.inputs.heads} heads"
        return Baseline("ulysses", None, np.zeros(case.ranks, np.int64), 0, note)
    return _hybrid(case, "ulysses", case.ranks, "contiguous")


def usp(case: Case) -> Baseline:
    """USP (Fang and Zhao, 2024): groups of u neighbours swap sequence for heads, and P / u parts form a ring.

    The fastest of all u that divide ranks and heads, u = 1 and u = P included, and of parts contiguous and striped.
    """
    return ranked(_all_usp(case), _seconds)[0]


def all_gather(case: Case) -> Baseline:
    """All keys and values gathered by every rank, as in Llama 3's context parallelism; in the backward, sums scattered.

    At once, or where several nodes have as many ranks each, first between the nodes and then within; with contiguous
    or striped blocks: the fastest of these.
    """
    return ranked(_all_gathers(case), _seconds)[0]


def _all_gathers(case: Case) -> Iterator[Baseline]:
    ways = [("at once", np.arange(case.ranks), np.zeros(case.ranks, np.int64)), *_by_node(case)]
    for (way, row, column), order in itertools.product(ways, ORDERS):
        gathering = Gathering(case.inputs, row, column, case.pairs(order), case.tokens(order))
        steps = gathering.forward() if case.direction == "forward" else gathering.backward()
        yield _simulated(case, "all-gather", steps, f"{way}, {order}")


def _all_usp(case: Case) -> Iterator[Baseline]:
    for heads in range(1, case.ranks + 1):
        if case.ranks % heads == 0 and case.inputs.heads % heads == 0:
            for order in ORDERS:
                yield _hybrid(case, "usp", heads, order)


def _hybrid(case: Case, name: str, heads: int, order: str) -> Baseline:
    """Simulate a ring of parts whose heads are divided; a part of stripes is a coarser stripe."""
    rank = np.arange(case.ranks)
    block = rank if order == "contiguous" else rank // heads + case.ranks // heads * (rank % heads)
    hybrid = Hybrid(case.inputs, heads, block, case.pairs(order), case.tokens(order))
    steps = hybrid.forward() if case.direction == "forward" else hybrid.backward()
    return _simulated(case, name, steps, f"u = {heads}, {order}" if name == "usp" else "")


def _by_node(case: Case) -> Iterator[tuple[str, Array, Array]]:
    """Yield each rank's node, and its number within it, if nodes have the same number of ranks, but not one."""
    node = case.topology.node[case.placement]
    count = np.bincount(node)
    used = count[count > 0]
    if len(used) > 1 and used[0] > 1 and (used == used[0]).all():
        order = np.argsort(node, kind="stable")
        number = np.empty_like(node)
        number[order] = np.arange(case.ranks) % used[0]
        yield "between nodes, then within", node, number


def _simulated(case: Case, name: str, steps: list[Step], note: str) -> Baseline:
    timeline = makespan([(steps, case.placement)], case.topology, case.seconds_per_pair, case.launch)
    bytes_in = received((step.flow for step in steps), case.ranks)
    return Baseline(name, timeline, bytes_in, int(bytes_in.sum()), note)


def _seconds(baseline: Baseline) -> float:
    return float("inf") if baseline.timeline is None else baseline.timeline.seconds
