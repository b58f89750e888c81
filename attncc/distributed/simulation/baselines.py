"""Baselines: published ways to distribute attention, under the same simulation as schedules.

They run the same block-sparse kernels at the same cost of a pair. They compute only the pairs of the pattern, on the
ranks where their strategy has them. Published implementations are dense or causal: this favours them. What they send
doesn't depend on the pattern. A transfer overlaps with computing wherever the strategy allows it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from attncc.backends.inputs import Inputs
from attncc.distributed.schedules.traffic import Superstep, received
from attncc.distributed.simulation.baseline_steps import AllGather, Hybrid
from attncc.distributed.simulation.ranking import ranked
from attncc.distributed.simulation.simulate import makespan
from attncc.distributed.simulation.timeline import Timeline
from attncc.distributed.topology import Topology
from attncc.errors import TopologyError
from attncc.ir.tables import Array
from attncc.planner.directions import check_direction

#: Orders in which a sequence is cut into as many blocks as ranks.
ORDERS = ("contiguous", "cyclic")


@dataclass(frozen=True, eq=False)
class BlockScenario:
    """What baselines are compared on: a pattern's pairs, the inputs, and the devices of a topology.

    Raises TopologyError and ConfigError.

    Attributes:
        contiguous, cyclic: Pairs between the queries of block r and the keys of block s, float64 (ranks, ranks), over
            all heads and batch entries, for `length` tokens in the blocks of `contiguous_blocks` and `cyclic_blocks`.
        seconds_per_pair, launch: By target, as in simulate.makespan; those of the backward for direction "backward".
        devices: The device of each rank, int64 (ranks,); None for the first ones.
    """

    inputs: Inputs
    length: int
    contiguous: Array
    cyclic: Array
    topology: Topology
    seconds_per_pair: Mapping[str, float]
    launch: Mapping[str, float]
    direction: str = "forward"
    devices: Array | None = None

    def __post_init__(self) -> None:
        if self.contiguous.shape != (self.ranks, self.ranks) or self.cyclic.shape != self.contiguous.shape:
            raise TopologyError(
                f"Pairs between blocks of shapes {self.contiguous.shape} and {self.cyclic.shape}.",
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
        return self.contiguous if order == "contiguous" else self.cyclic

    def tokens(self, order: str) -> Array:
        """Return the tokens of each block of an order, int64 (ranks,)."""
        blocks = contiguous_blocks if order == "contiguous" else cyclic_blocks
        return np.bincount(blocks(self.length, self.ranks), minlength=self.ranks)

    @property
    def placement(self) -> Array:
        """The device of each rank, int64 (ranks,)."""
        return np.arange(self.ranks) if self.devices is None else self.devices


@dataclass(frozen=True, eq=False)
class Baseline:
    """A strategy with its timeline and the bytes that each rank receives, int64 (ranks,), in one direction.

    Attributes:
        note: How it was set up, or where `timeline` is None and no bytes are received, why it isn't possible.
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


def cyclic_blocks(length: int, ranks: int) -> Array:
    """Return the block of each token, int64 (length,): token t is in block t mod ranks."""
    return np.arange(length) % ranks


def baselines(scenario: BlockScenario) -> list[Baseline]:
    """Return all baselines, the impossible ones too."""
    return [ring(scenario), striped_ring(scenario), ulysses(scenario), usp(scenario), all_gather(scenario)]


def ring(scenario: BlockScenario) -> Baseline:
    """Ring attention (Liu et al., 2023): contiguous blocks, whose keys go round, whatever the mask."""
    return _hybrid(scenario, "ring", 1, "contiguous")


def striped_ring(scenario: BlockScenario) -> Baseline:
    """Striped attention (Brandon et al., 2023): the same ring, with token t at rank t mod P, which balances causal."""
    return _hybrid(scenario, "striped ring", 1, "cyclic")


def ulysses(scenario: BlockScenario) -> Baseline:
    """DeepSpeed-Ulysses (Jacobs et al., 2023): all-to-alls swap sequence for heads, and back.

    Key heads are sent to each rank that has one of their query heads. It isn't possible unless ranks divide the heads.
    """
    if scenario.inputs.heads % scenario.ranks:
        note = f"not possible: {scenario.ranks} ranks don't divide {scenario.inputs.heads} heads"
        return Baseline("ulysses", None, np.zeros(scenario.ranks, np.int64), 0, note)
    return _hybrid(scenario, "ulysses", scenario.ranks, "contiguous")


def usp(scenario: BlockScenario) -> Baseline:
    """USP (Fang and Zhao, 2024): groups of u neighbours swap sequence for heads, and P / u parts form a ring.

    The fastest of all u that divide ranks and heads, u = 1 and u = P included, and of parts contiguous and cyclic.
    """
    return ranked(_all_usp(scenario), _seconds)[0]


def all_gather(scenario: BlockScenario) -> Baseline:
    """All keys and values gathered by every rank, as in Llama 3's context parallelism; in the backward, sums scattered.

    At once, or where several nodes have as many ranks each, first between the nodes and then within; with contiguous
    or cyclic blocks: the fastest of these.
    """
    return ranked(_all_gathers(scenario), _seconds)[0]


def _all_gathers(scenario: BlockScenario) -> Iterator[Baseline]:
    strategies = [("at once", np.arange(scenario.ranks), np.zeros(scenario.ranks, np.int64)), *_by_node(scenario)]
    for (strategy, row, column), order in itertools.product(strategies, ORDERS):
        gathering = AllGather(scenario.inputs, row, column, scenario.pairs(order), scenario.tokens(order))
        steps = gathering.forward() if scenario.direction == "forward" else gathering.backward()
        yield _simulated(scenario, "all-gather", steps, f"{strategy}, {order}")


def _all_usp(scenario: BlockScenario) -> Iterator[Baseline]:
    for heads in range(1, scenario.ranks + 1):
        if scenario.ranks % heads == 0 and scenario.inputs.heads % heads == 0:
            for order in ORDERS:
                yield _hybrid(scenario, "usp", heads, order)


def _hybrid(scenario: BlockScenario, name: str, heads: int, order: str) -> Baseline:
    """Simulate a ring of parts whose heads are divided; a part of stripes is a coarser stripe."""
    rank = np.arange(scenario.ranks)
    block = rank if order == "contiguous" else rank // heads + scenario.ranks // heads * (rank % heads)
    hybrid = Hybrid(scenario.inputs, heads, block, scenario.pairs(order), scenario.tokens(order))
    steps = hybrid.forward() if scenario.direction == "forward" else hybrid.backward()
    return _simulated(scenario, name, steps, f"u = {heads}, {order}" if name == "usp" else "")


def _by_node(scenario: BlockScenario) -> Iterator[tuple[str, Array, Array]]:
    """Yield each rank's node, and its number within it, if nodes have the same number of ranks, but not one."""
    node = scenario.topology.node[scenario.placement]
    count = np.bincount(node)
    used = count[count > 0]
    if len(used) > 1 and used[0] > 1 and (used == used[0]).all():
        order = np.argsort(node, kind="stable")
        number = np.empty_like(node)
        number[order] = np.arange(scenario.ranks) % used[0]
        yield "between nodes, then within", node, number


def _simulated(scenario: BlockScenario, name: str, steps: list[Superstep], note: str) -> Baseline:
    timeline = makespan([(steps, scenario.placement)], scenario.topology, scenario.seconds_per_pair, scenario.launch)
    bytes_in = received((step.flow for step in steps), scenario.ranks)
    return Baseline(name, timeline, bytes_in, int(bytes_in.sum()), note)


def _seconds(baseline: Baseline) -> float:
    return float("inf") if baseline.timeline is None else baseline.timeline.seconds
