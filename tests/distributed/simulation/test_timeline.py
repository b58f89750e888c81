"""Timelines by hand: the exact seconds of each rank, on its own clock."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stars import BETA, flow, pooled, ranks, run, star, step, synchronous

import attncc
from attncc.backends.inputs import Inputs
from attncc.distributed.schedules.partition import Chunking, Partition
from attncc.distributed.schedules.problem import PartitioningProblem
from attncc.distributed.schedules.schedule import HeadClassSchedule, Moves, Schedule, Task
from attncc.distributed.schedules.settings import Settings
from attncc.distributed.schedules.sharing import Sharing
from attncc.distributed.schedules.sharing import steps as steps_of
from attncc.distributed.schedules.traffic import Flow, Superstep, TokenBytes, backward_steps, forward_steps
from attncc.distributed.simulation.baseline_steps import AllGather, Hybrid
from attncc.distributed.simulation.messages import Messages, flow_seconds
from attncc.distributed.simulation.timeline import Timeline
from attncc.distributed.topology import Topology

#: Bytes of a second.
SECOND = int(BETA)


def alone(steps: list[Superstep], count: int, **link: object) -> Timeline:
    """The timeline of ranks around a switch without latency."""
    return run((steps, np.arange(count)), topology=star(count, **({"alpha": 0.0} | link)))


def rows(times: np.ndarray) -> list[list[float]]:
    found: list[list[float]] = times.round(9).T.tolist()
    return found


def test_imbalances_that_cancel_are_counted_once() -> None:
    found = alone([step([3, 1]), step([1, 3])], 2)
    assert rows(found.starts) == [[0, 3], [0, 1]]
    assert rows(found.computed) == [[3, 4], [1, 4]]
    assert (found.seconds, found.exposed) == (4, 0)  # and not 3 + 3


def test_messages_start_with_the_later_rank() -> None:
    """Rank 1 reaches the second round at 1; its message starts when rank 0 arrives, at 3."""
    found = alone([step([3, 1]), step([1, 0], flow((1, 0, 2 * SECOND))), step([1, 1])], 2)
    assert rows(found.begins) == [[0, 3, 5], [0, 1, 5]]
    assert rows(found.computed) == [[3, 4, 6], [1, 1, 6]]
    assert rows(found.landed) == [[0, 5, 5], [0, 5, 5]]
    assert rows(found.waiting) == [[0, 1, 0], [0, 4, 0]]
    assert (found.seconds, found.last, found.exposed) == (6, 0, 1)


def test_relayed_messages_leave_on_arrival() -> None:
    """Rank 1 forwards a message on its arrival, while ranks 0 and 1 compute."""
    first, second = flow((0, 1, 2 * SECOND)), flow((1, 2, SECOND))
    found = alone([step([5, 0, 0], first), step([0, 4, 0], second), step([0, 0, 3])], 3)
    assert rows(found.begins) == [[0, 5, 5], [0, 2, 6], [0, 0, 3]]
    assert rows(found.landed) == [[2, 5, 5], [2, 3, 6], [0, 3, 3]]
    assert rows(found.computed) == [[5, 5, 5], [0, 6, 6], [0, 0, 6]]
    assert (found.seconds, found.last, found.exposed) == (6, 1, 2)  # and not 5 + 4 + 3


def test_idle_ranks_end_at_once() -> None:
    found = alone([step([2, 0, 0], flow((0, 1, SECOND))), step([0, 1, 0])], 3)
    assert rows(found.ends) == [[2, 2], [1, 2], [0, 0]]
    assert found.waiting.sum(axis=0).tolist() == [0, 1, 0]


def test_waiting_ranks_end_with_the_last_message() -> None:
    found = alone([step([4, 0]), step([0, 0], flow((0, 1, 3 * SECOND)))], 2)
    assert rows(found.landed) == [[0, 7], [0, 7]]
    assert rows(found.busy) == [[4, 0], [0, 0]]
    assert rows(found.waiting) == [[0, 3], [0, 7]]
    assert (found.seconds, found.exposed) == (7, 3)


def test_ranks_wait_for_their_own_sends() -> None:
    """An exchange ends with all of its parts: rank 0 finishes sending at 5, and then computes."""
    found = alone([step([0, 4]), step([0, 0], flow((0, 1, SECOND))), step([2, 0])], 2)
    assert rows(found.starts) == [[0, 0, 5], [0, 4, 5]]
    assert found.seconds == 7


def test_each_message_adds_latency() -> None:
    found = alone([step([0, 0, 0], flow((0, 1, SECOND), (0, 2, SECOND)))], 3, alpha=0.25)
    assert rows(found.landed) == [[3], [3], [3]]


@pytest.mark.parametrize(("link", "second"), [({}, [0, 2]), ({"shared": "bus"}, [2, 4])])
def test_shared_links_carry_rounds_in_turn(link: dict[str, object], second: list[int]) -> None:
    steps = [step([0] * 4, flow((0, 1, 2 * SECOND))), step([0] * 4, flow((2, 3, 2 * SECOND)))]
    found = alone(steps, 4, **link)
    assert rows(found.landed)[:2] == [[2, 2], [2, 2]]
    assert rows(found.landed)[2:] == [[0, second[1]]] * 2


def test_pools_of_cores_serve_steps_in_turn() -> None:
    """Three ranks share two cores: their first step ends before their second begins; other nodes don't wait."""
    topology = pooled(star(4), {"left": 2.0}, ["left", "left", "left", "right"])
    found = run(([step([4, 4, 0, 1]), step([0, 0, 2, 1])], ranks(0, 1, 2, 3)), topology=topology)
    assert rows(found.starts) == [[0, 4], [0, 4], [0, 4], [0, 1]]
    assert rows(found.computed) == [[4, 4], [4, 4], [0, 6], [1, 2]]
    slowed = run(([step([2, 2, 2, 2])], ranks(0, 1, 2, 3)), topology=topology)
    assert rows(slowed.busy) == [[3], [3], [3], [2]]


def test_synchronous_rounds_wait_for_idle_ranks() -> None:
    """Rank 2 reaches the second round at 5; in a step without messages no rank waits."""
    steps = [step([1, 1, 5]), step([0, 0, 1], flow((0, 1, SECOND))), step([2, 2, 2])]
    topology = star(3, alpha=0.0)
    apart, together = (run((steps, ranks(0, 1, 2)), topology=each) for each in (topology, synchronous(topology)))
    assert rows(apart.landed) == [[0, 2, 2], [0, 2, 2], [0, 5, 6]]
    assert rows(together.landed) == [[0, 5, 5], [0, 5, 5], [0, 5, 6]]
    assert (apart.seconds, together.seconds) == (8, 8)
    assert rows(together.ends)[0] == [1, 5, 7]


@pytest.mark.parametrize("merged", [False, True])
def test_synchronous_rounds_wait_within_a_group_only(merged: bool) -> None:
    """The first group waits for its own ranks only; the second exchanges nothing and doesn't wait."""
    early, late = [step([1, 3]), step([0, 0], flow((0, 1, SECOND)))], [step([2, 9]), step([0, 0])]
    groups = [(early, ranks(0, 2)), (late, ranks(1, 3))]
    if merged:
        group = ranks(0, 1, 0, 1)
        both = [Superstep(np.array([1.0, 2, 3, 9]), np.zeros(4), flow((0, 0, 0)), group)]
        groups = [([*both, Superstep(np.zeros(4), np.zeros(4), flow((0, 2, SECOND)), group)], ranks(0, 1, 2, 3))]
    found = run(*groups, topology=synchronous(star(4, alpha=0.0)))
    assert rows(found.ends) == [[1, 4], [2, 2], [3, 4], [9, 9]]


def test_baselines_and_ulysses_have_the_expected_groups() -> None:
    """On 2 x 2 ranks, neighbours swap and rings run between pairs."""
    inputs, tokens = Inputs(2, 4, 4, 8, 8, "fp32"), np.full(4, 4)
    hybrid = Hybrid(inputs, 2, np.arange(4), np.ones((4, 4)), tokens)
    gathering = AllGather(inputs, ranks(0, 0, 1, 1), ranks(0, 1, 0, 1), np.ones((4, 4)), tokens)
    schedule = PartitioningProblem(attncc.load("causal"), 16, 2, inputs).schedule(Settings())
    ours = [steps_of(schedule, inputs, Sharing(2, 1, 2, 2), way) for way in ("forward", "backward")]
    ours += [steps_of(schedule, inputs, Sharing(1, 2, 2, 1), way) for way in ("forward", "backward")]
    known = [hybrid.forward(), hybrid.backward(), gathering.forward(), gathering.backward()]
    for each in itertools.chain(*ours, *known):
        group = np.zeros(len(each.work)) if each.group is None else each.group
        assert (group[each.flow.source] == group[each.flow.target]).all()
        sizes = np.bincount(group[np.union1d(each.flow.source, each.flow.target)].astype(int))
        assert set(sizes) <= {0, 2}


def relayed() -> Schedule:
    """Keys of rank 0 go to rank 1, and on from there to rank 2; each rank has tasks on its own, and on what comes."""
    moves = Moves.of(np.array([1, 2]), np.array([0, 1]), np.array([1, 2]), np.array([0, 0]))
    own = [Task(rank, 0, ranks(rank), ranks(rank), work) for rank, work in enumerate((4.0, 1.0, 2.0))]
    later = [Task(1, 1, ranks(1), ranks(0), 2.0), Task(2, 2, ranks(2), ranks(0), 1.0)]
    return Schedule(
        Partition("by hand", Chunking.plain(3, 1), ranks(0, 1, 2), 3),
        (HeadClassSchedule(None, moves, Moves.none(), (*own, *later)),),
        2,
    )


def test_backward_reverses_the_messages_of_the_forward() -> None:
    inputs = Inputs(1, 1, 1, 8, 8, "fp32")
    key = TokenBytes.of(inputs).key
    assert key == TokenBytes.of(inputs).key_gradient
    topology = star(3, alpha=0.0, beta=key / 3)  # a key takes 3 seconds
    places = ranks(0, 1, 2)
    there = run((forward_steps(relayed(), inputs), places), topology=topology)
    assert rows(there.begins) == [[0, 4, 4], [0, 3, 6], [0, 2, 6]]
    assert rows(there.computed) == [[4, 4, 4], [1, 5, 6], [2, 2, 7]]
    assert there.seconds == 7  # and not 4 + 3 + 1
    back = run((backward_steps(relayed(), inputs), places), topology=topology)
    assert rows(back.begins) == [[0, 0, 0], [0, 0, 4], [0, 1, 4]]
    assert rows(back.computed) == [[0, 0, 4], [0, 2, 5], [1, 1, 6]]
    assert rows(back.landed) == [[0, 0, 7], [0, 4, 7], [0, 4, 4]]
    assert back.seconds == 7  # and not 1 + 3 + 4


LINKS = st.sampled_from(
    [{}, {"duplex": "half"}, {"shared": "bus"}, {"shared": "bus", "duplex": "half"}, {"alpha": 0.0}]
)


@st.composite
def runs(draw: st.DrawFn) -> tuple[list[Superstep], Topology]:
    """Steps of up to five ranks around a switch, of which some share cores."""
    count = draw(st.integers(2, 5))
    seconds = st.integers(0, 9).map(float)
    message = st.tuples(st.integers(0, count - 1), st.integers(0, count - 1), st.integers(0, 5 * SECOND))
    steps = [
        step(draw(st.lists(seconds, min_size=count, max_size=count)), Flow(*np.array(moved, np.int64).reshape(-1, 3).T))
        for moved in draw(st.lists(st.lists(message, max_size=6), max_size=5))
    ]
    topology = star(count, **draw(LINKS))
    if draw(st.booleans()):
        node = draw(st.lists(st.sampled_from(["a", "b"]), min_size=count, max_size=count))
        topology = pooled(topology, {node[0]: draw(st.sampled_from([1.0, 1.5, 2.0]))}, node)
    return steps, synchronous(topology) if draw(st.booleans()) else topology


def simulated(steps: list[Superstep], topology: Topology) -> Timeline:
    return run((steps, np.arange(topology.count)), topology=topology)


def rounds(steps: list[Superstep], topology: Topology) -> list[Messages]:
    return [Messages.of(each.flow, topology) for each in steps]


@given(runs())
def test_makespans_are_at_least_the_work_of_each_rank_pool_and_link(case: tuple[list[Superstep], Topology]) -> None:
    steps, topology = case
    found, compute = simulated(steps, topology), sum((each.work for each in steps), np.zeros(topology.count))
    least = [compute.max(), found.busy.sum(axis=0).max(initial=0.0), found.lower_bound]
    least += [compute[topology.node == node].sum() / cores for node, cores in topology.cores.items()]
    least += [float(sum((each.load for each in rounds(steps, topology)), np.zeros(1)).max())]
    assert found.seconds >= max(least) * (1 - 1e-9)


@given(runs())
def test_makespans_are_at_least_the_longest_chain_of_messages(case: tuple[list[Superstep], Topology]) -> None:
    """Of two messages with a common end, in two rounds, the second follows the first."""
    steps, topology = case
    chain = [0.0] * topology.count
    for messages in rounds(steps, topology):
        before = list(chain)
        for source, target, seconds in zip(messages.source, messages.target, messages.seconds, strict=True):
            arrival = max(before[source], before[target]) + seconds
            chain[source], chain[target] = max(chain[source], arrival), max(chain[target], arrival)
    assert simulated(steps, topology).seconds >= max(chain) * (1 - 1e-9)


@given(runs())
def test_makespans_are_at_most_those_of_lockstep(case: tuple[list[Superstep], Topology]) -> None:
    steps, topology = case
    together = 0.0
    for each in steps:
        pools = [each.work[topology.node == node].sum() / cores for node, cores in topology.cores.items()]
        together += max(each.work.max(), *pools, flow_seconds(each.flow, topology), 0.0)
    assert simulated(steps, topology).seconds <= together * (1 + 1e-9)


@given(runs(), st.sampled_from([1.5, 4.0]), st.integers(0, 4))
def test_faster_links_and_fewer_messages_never_lengthen_the_makespan(
    case: tuple[list[Superstep], Topology], faster: float, dropped: int
) -> None:
    steps, topology = case
    most = simulated(steps, topology).seconds * (1 + 1e-9)
    network = replace(topology.network, beta=topology.network.beta * faster)
    assert simulated(steps, replace(topology, network=network)).seconds <= most
    fewer = [replace(each, flow=_without(each.flow, dropped)) for each in steps]
    assert simulated(fewer, topology).seconds <= most


@given(runs())
def test_synchronous_rounds_never_shorten_the_makespan(case: tuple[list[Superstep], Topology]) -> None:
    steps, topology = case
    assert simulated(steps, synchronous(topology)).seconds >= simulated(steps, topology).seconds * (1 - 1e-9)


def _without(moved: Flow, number: int) -> Flow:
    kept = np.arange(len(moved.bytes)) != number
    return Flow(moved.source[kept], moved.target[kept], moved.bytes[kept])


@given(runs())
def test_time_of_each_rank_is_computing_plus_waiting(case: tuple[list[Superstep], Topology]) -> None:
    found = simulated(*case)
    assert (found.waiting >= -1e-9).all()
    assert (found.starts >= found.begins).all()
    if len(found.ends):
        assert found.ends[-1] == pytest.approx((found.busy + found.waiting).sum(axis=0))
        assert found.begins[1:].tolist() == found.ends[:-1].tolist()
