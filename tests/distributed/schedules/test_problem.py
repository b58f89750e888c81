"""Schedules compute every connected pair once, on a rank that has received its query and key."""

from __future__ import annotations

import numpy as np
import pytest
from computing import computed
from distributed_patterns import patterns, window_and_globals

import attncc
from attncc.backends.inputs import Inputs
from attncc.distributed.schedules import traffic
from attncc.distributed.schedules.problem import PartitioningProblem, default_unit
from attncc.distributed.schedules.schedule import HeadClassSchedule
from attncc.distributed.schedules.settings import PARTITIONS, Settings
from attncc.distributed.schedules.sharing import Sharing
from attncc.distributed.schedules.validation import check_covers, check_schedule
from attncc.distributed.simulation.scenario import Scenario
from attncc.distributed.topology import Topology
from attncc.errors import ConfigError, PlanError, ShapeError
from attncc.ir.normal import TooManyClausesError
from attncc.planner.clauses import disjoint_clauses

INPUTS = Inputs(2, 4, 2, 16, 16, "fp32")
NAMES = sorted(patterns(64))
SETTINGS = [
    Settings(),
    Settings(stages=0),
    Settings(stages=3, unit=4),
    Settings("zigzag", route="ring"),
    Settings("balanced", unit=2, route="tree", fanout=1),
    Settings("block_cyclic", unit=8),
    Settings("classes"),
    Settings("longest_first", stages=2),
]


@attncc.pattern
def dilated(i: attncc.Index, j: attncc.Index, *, dilation: int) -> attncc.Condition:
    """Keys a multiple of the dilation away."""
    return (i - j) % dilation == 0


@attncc.pattern
def listed(i: attncc.Index, j: attncc.Index, *, blocks: attncc.Lists) -> attncc.Condition:
    """Blocks of 8 keys that a list names."""
    return (j // 8).isin(blocks[i // 8])


def dense(pattern, length, batch, head):
    """The mask of one head, bool (length, length)."""
    mask = attncc.dense_mask(pattern, length, heads=INPUTS.heads, batch=INPUTS.batch).numpy()
    full = mask.reshape((1,) * (4 - mask.ndim) + mask.shape)
    return full[min(batch, full.shape[0] - 1), min(head, full.shape[1] - 1)]


def members(head_class: HeadClassSchedule):
    every = np.indices((INPUTS.batch, INPUTS.kv_heads)).reshape(2, -1).T
    return every if head_class.members is None else head_class.members


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("length", "ranks"), [(64, 4), (61, 3), (5, 8)])
def test_every_pair_is_computed_once(name, settings, length, ranks):
    check_computed_once(patterns(length)[name], settings, length, ranks)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize(("length", "ranks"), [(64, 4), (61, 3)])
def test_every_pair_of_a_membership_is_computed_once(settings, length, ranks):
    blocks = np.random.default_rng(0).integers(-1, 10, (INPUTS.batch, INPUTS.heads, 8, 2))
    check_computed_once(listed(blocks=blocks), settings, length, ranks)
    check_computed_once(listed(blocks=blocks[0, 0]).causal(), settings, length, ranks)


def check_computed_once(pattern, settings, length, ranks):
    problem = PartitioningProblem(pattern, length, ranks, INPUTS, np.arange(ranks) // 2)
    schedule = problem.schedule(settings)
    owned = np.concatenate([schedule.partition.tokens(rank) for rank in range(ranks)])
    assert np.array_equal(np.sort(owned), np.arange(length))
    served = []
    for head_class in schedule.head_classes:
        times = computed(schedule, head_class)
        for batch, key_head in members(head_class):
            served.append((batch, key_head))
            for head in range(key_head * INPUTS.group, (key_head + 1) * INPUTS.group):
                mask = dense(pattern, length, batch, head)
                assert (times[mask] == 1).all()
                assert times.max() <= 1
    assert len(set(served)) == len(served) == INPUTS.batch * INPUTS.kv_heads
    check_schedule(schedule)
    check_covers(schedule, problem)


@pytest.mark.parametrize("name", NAMES)
def test_work_equals_the_number_of_pairs(name):
    pattern = patterns(64)[name]
    problem = PartitioningProblem(pattern, 64, 4, INPUTS)
    schedule = problem.schedule(Settings(stages=2))
    whole = problem.whole(schedule.partition.chunking).work.sum()
    assert sum(
        task.work * len(members(head_class)) for head_class in schedule.head_classes for task in head_class.tasks
    ) == pytest.approx(whole)
    if name != "random":  # whose tiles are counted whole
        pairs = sum(dense(pattern, 64, b, h).sum() for b in range(INPUTS.batch) for h in range(INPUTS.heads))
        assert whole == pytest.approx(pairs)


def test_windows_pull_only_their_halo():
    problem = PartitioningProblem(attncc.load("sliding_window", window=256), 16384, 4, INPUTS)
    schedule = problem.schedule(Settings())
    kappa = traffic.TokenBytes.of(INPUTS).key * INPUTS.batch * INPUTS.kv_heads
    received = traffic.received(traffic.forward(schedule, INPUTS), 4)
    assert received.max() == kappa * 256  # 255, in whole units of 128


def test_global_queries_are_pushed():
    pattern = patterns(1024)["globals"]
    problem = PartitioningProblem(pattern, 1024, 8, INPUTS)
    schedule = problem.schedule(Settings())
    received = traffic.received(traffic.forward(schedule, INPUTS), 8)
    everything = traffic.TokenBytes.of(INPUTS).key * INPUTS.batch * INPUTS.kv_heads * 1024
    assert schedule.returns
    assert received.max() < everything / 3


def test_buckets_partitioned_by_class_exchange_nothing():
    pattern = attncc.load("document", ids=np.arange(64) % 4)
    schedule = PartitioningProblem(pattern, 64, 4, INPUTS).schedule(Settings("classes"))
    assert sum(flow.total for flow in traffic.forward(schedule, INPUTS)) == 0


def test_patterns_of_too_many_clauses_keep_the_natural_order():
    """The search for joins must handle the planner's TooManyClausesError."""
    chain = attncc.load("causal")
    for dilation in (2, 3, 5, 7, 11, 13, 17):
        chain = chain & (dilated(dilation=dilation) | dilated(dilation=dilation + 30))
    with pytest.raises(TooManyClausesError):
        disjoint_clauses(chain.predicate)
    partition = PartitioningProblem(chain, 64, 2, INPUTS).partition(Settings("classes"))
    assert partition.chunking.axis.positions is None


def test_balanced_partitions_even_out_causal_work():
    problem = PartitioningProblem(attncc.load("causal"), 4096, 4, INPUTS, slack=2.0)
    even, plain = (problem.partition(Settings(name)) for name in ("balanced", "contiguous"))
    loads = [np.bincount(each.owner, problem.whole(each.chunking).work, 4) for each in (even, plain)]
    assert loads[0].max() < loads[1].max() * 0.8
    assert even.counts.max() <= 2 * 4096 / 4


@pytest.mark.parametrize("name", [name for name in PARTITIONS if name != "hypergraph"])
def test_every_partition_respects_the_slack(name):
    partition = PartitioningProblem(attncc.load("causal"), 1000, 7, INPUTS).partition(Settings(name, unit=8))
    assert partition.counts.sum() == 1000
    assert partition.counts.max() <= 1.25 * 1000 / 7 + 8


def test_units_grow_with_the_sequence():
    assert default_unit(5, 8) == 1
    assert default_unit(16384, 4) == 128
    assert default_unit(1 << 20, 64) == 128
    assert default_unit(1 << 24, 1024) == 1024


def test_settings_and_sizes_are_checked():
    with pytest.raises(ConfigError, match=r"partition='zigzags'.*\n.*\nDid you mean 'zigzag'"):
        Settings("zigzags")
    with pytest.raises(ConfigError, match="power of two"):
        Settings(unit=3)
    with pytest.raises(ShapeError, match="0 tokens on 4 ranks"):
        PartitioningProblem(attncc.load("causal"), 0, 4, INPUTS)


def test_memory_bounds_the_tokens_of_a_rank():
    problem = PartitioningProblem(attncc.load("causal"), 1000, 4, INPUTS, slack=2.0, most=256)
    assert problem.partition(Settings("balanced", unit=16)).counts.max() <= 256
    with pytest.raises(PlanError, match="1,000 tokens on 4 ranks, whose memory holds 249 each"):
        PartitioningProblem(attncc.load("causal"), 1000, 4, INPUTS, most=249)


def test_scenarios_take_memory_from_their_devices():
    inputs = Inputs(1, 32, 32, 128, 128, "fp16")
    scenario = Scenario(attncc.load("causal"), 1 << 20, inputs, Topology.load("4xrtx4090"))
    with pytest.raises(PlanError, match="1,048,576 tokens on 4 ranks"):
        scenario.problem(Sharing(parts=4))


@pytest.mark.parametrize("slack", [0.5, np.nan, np.inf])
def test_invalid_slacks_are_refused(slack: float) -> None:
    with pytest.raises(ConfigError, match="slack"):
        PartitioningProblem(attncc.load("causal"), 64, 2, INPUTS, slack=slack)


@pytest.mark.parametrize("length", ["64", None, 64.0, True])
def test_lengths_must_be_integers(length: object) -> None:
    with pytest.raises(ShapeError, match="integer"):
        PartitioningProblem(attncc.load("causal"), length, 2, INPUTS)


@pytest.mark.parametrize(("wrong", "word"), [({"kv_heads": 0}, "kv_heads=0"), ({"value_dim": 0}, "value_dim=0"),
    ({"heads": 2.0}, "heads=2.0"), ({"dtype": "float32"}, "fp32")], ids=str)  # fmt: skip
def test_invalid_sizes_are_refused(wrong: dict[str, object], word: str) -> None:
    """kv_heads=0 doesn't mean as many as heads; None does."""
    given = {"batch": 1, "heads": 2, "kv_heads": None, "head_dim": 8, "value_dim": None, "dtype": "fp32"}
    assert Inputs.given(**given) == Inputs(1, 2, 2, 8, 8, "fp32")
    with pytest.raises(ShapeError, match=word):
        Inputs.given(**given | wrong)


def test_units_too_small_for_a_dense_pattern_are_refused() -> None:
    """Units of single tokens would exhaust memory; sparse patterns may have them."""
    with pytest.raises(PlanError, match="pairs of units of 1 tokens"):
        PartitioningProblem(window_and_globals(w=2, g=1), 1 << 15, 2, INPUTS).schedule(Settings("block_cyclic", unit=1))
    assert (
        PartitioningProblem(attncc.load("sliding_window", window=8), 1 << 15, 2, INPUTS)
        .schedule(Settings(unit=1))
        .rounds
        == 1
    )


def test_old_names_of_partitions_are_accepted() -> None:
    for old, new in (("striped", "cyclic"), ("strided", "block_cyclic")):
        with pytest.warns(FutureWarning, match=f"called '{new}' now"):
            assert Settings(old) == Settings(new)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("listed_at_once", [8, 1 << 22])
def test_pairs_between_ranks_are_those_of_their_units(
    name: str, listed_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("attncc.distributed.schedules.adjacency.LISTED", listed_at_once)
    problem = PartitioningProblem(patterns(200)[name], 200, 5, INPUTS)
    for order in ("contiguous", "block_cyclic"):
        partition = problem.partition(Settings(order, unit=4))
        whole, count = problem.whole(partition.chunking), partition.chunking.count
        wanted = np.zeros((count, count))
        for strip in whole.strips:
            query, key = strip.expanded()
            np.add.at(wanted, (query, key), np.repeat(strip.share, strip.stop - strip.start))
        rank = np.eye(5)[partition.owner]
        np.testing.assert_allclose(whole.blocks(partition.owner, 5), rank.T @ wanted @ rank, rtol=1e-12)
