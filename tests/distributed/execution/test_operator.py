"""attncc.distributed.compile on gloo processes: planned schedules, meshes, and what is refused."""

from __future__ import annotations

import pytest
from cases import N, patterns

import attncc
from attncc.backends.inputs import Inputs
from attncc.distributed.schedules.sharing import Sharing
from attncc.distributed.simulation import pricing
from attncc.distributed.simulation.choose import choose
from attncc.distributed.simulation.scenario import Scenario
from attncc.distributed.topology import Topology


def slow(*values: object):
    """Mark one of many values of a parameter: the others already take long enough."""
    return pytest.param(*values, marks=pytest.mark.slow)


NAMES = [name for name in patterns() if name not in ("nothing", "256-window")]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("ranks", [slow(2), slow(3), 4])
def test_planned_schedules_agree_with_one_process(world, name: str, ranks: int) -> None:
    world(ranks).run("compiled_case", name, {"unit": 8}, {})


@pytest.mark.parametrize("settings", [{"partition": "zigzag", "stages": 2}, {"partition": "block_cyclic"},
    {"partition": "classes"}, {"partition": "longest_first"}, {"route": "ring"}, {"route": "tree", "fanout": 1},
    {"stages": 0}], ids=str)  # fmt: skip
@pytest.mark.parametrize("name", ["global", slow("strided"), slow("mix")])
def test_all_settings_agree_with_one_process(world, name: str, settings: dict[str, object]) -> None:
    world(4).run("compiled_case", name, {"unit": 4, **settings}, {})


@pytest.mark.parametrize("settings", [{"partition": "zigzag", "stages": 2}, slow({"spread": 2})], ids=str)
@pytest.mark.parametrize("name", ["strided", slow("global")])
@pytest.mark.parametrize("backend", ["triton", "reference"])
def test_other_backends_agree_with_one_process(world, backend: str, name: str, settings: dict[str, object]) -> None:
    """Shards are slices, whose rows aren't contiguous from head to head."""
    world(2).run("compiled_case", name, {"unit": 8, **settings}, {"backend": backend})


OTHERS = [(name, dtype, 4) for name in ("global", "mix", "strided") for dtype in ("bfloat16", "float64")]
MORE = [(name, "bfloat16", ranks) for name in NAMES for ranks in (2, 3, 4)]


@pytest.mark.parametrize(("name", "dtype", "ranks"), [*OTHERS, *(slow(*each) for each in MORE if each not in OTHERS)])
def test_other_dtypes_agree_with_one_process(world, name: str, dtype: str, ranks: int) -> None:
    world(ranks).run("compiled_case", name, {"unit": 8}, {"dtype": dtype})


def test_later_changes_to_a_configuration_have_no_effect(world) -> None:
    world(2).run("changed_configuration")


@pytest.mark.parametrize("ranks", [slow(2), slow(3), 4])
@pytest.mark.parametrize("dtype", ["float32", slow("bfloat16")])
def test_windows_agree_at_lengths_that_do_not_divide(world, dtype: str, ranks: int) -> None:
    world(ranks).run("compiled_case", "256-window", {}, {"dtype": dtype, "n": 1031, "heads": 2, "kv_heads": 1})


@pytest.mark.parametrize("settings", [{"partition": "zigzag", "stages": 2}, {"spread": 3, "unit": 8}], ids=str)
@pytest.mark.parametrize("dtype", [slow("float32"), slow("bfloat16")])
def test_three_ranks_agree_with_one_process(world, dtype: str, settings: dict[str, object]) -> None:
    world(3).run("compiled_case", "mix", settings, {"dtype": dtype, "heads": 6, "kv_heads": 3, "score": True})


@pytest.mark.parametrize(
    "dims",
    [
        {"heads": 2, "sequence": 2},
        {"sequence": 2, "heads": 2},
        {"batch": 2, "sequence": 2},
        {"heads": 4},
        {"batch": 2, "heads": 2},
        {"heads": 2, "batch": 1, "sequence": 2},
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["mix", slow("entries"), slow("global")])
def test_meshes_agree_with_one_process(world, name: str, dims: dict[str, int]) -> None:
    options = {"heads": 8, "kv_heads": 4, "score": True}
    world(4).run("compiled_case", name, {"unit": 8}, {"mesh": dims, **options})


@pytest.mark.parametrize("dims", [{"heads": 2, "sequence": 2}, slow({"sequence": 2, "batch": 2})], ids=str)
@pytest.mark.parametrize("spread", [slow(1), 2])
def test_meshes_agree_with_one_process_in_bfloat16(world, spread: int, dims: dict[str, int]) -> None:
    options = {"heads": 8, "kv_heads": 4, "score": True, "dtype": "bfloat16"}
    world(4).run("compiled_case", "mix", {"spread": spread, "unit": 8}, {"mesh": dims, **options})


@pytest.mark.parametrize("dims", [{"heads": 2, "sequence": 2}, slow({"batch": 2, "sequence": 2})], ids=str)
@pytest.mark.parametrize("n", [1, slow(9)])
def test_meshes_with_idle_ranks_agree_with_one_process(world, n: int, dims: dict[str, int]) -> None:
    """With one token or two units, the other rank of each group owns little or nothing."""
    world(4).run("compiled_case", "causal", {"unit": 8}, {"mesh": dims, "n": n, "score": True})


@pytest.mark.parametrize(
    ("name", "spread", "settings"),
    [
        ("strided", 2, {"unit": 8}),
        ("mix", 2, {"unit": 4, "partition": "zigzag", "stages": 2}),
        ("entries", 2, {"unit": 8, "route": "ring"}),
        ("global", 4, {}),
        slow("mix", 4, {}),
        slow("window", 2, {"partition": "cyclic"}),
    ],
)
def test_ulysses_agrees_with_one_process(world, name: str, spread: int, settings: dict[str, object]) -> None:
    options = {"heads": 8, "kv_heads": 4, "score": name in ("global", "mix")}
    world(4).run("compiled_case", name, {"spread": spread, **settings}, options)


@pytest.mark.parametrize("dims", [{"heads": 2, "sequence": 2}, {"sequence": 2, "batch": 2}], ids=str)
@pytest.mark.parametrize("name", ["mix", slow("entries"), slow("causal")])
def test_ulysses_on_meshes_agrees_with_one_process(world, name: str, dims: dict[str, int]) -> None:
    options = {"mesh": dims, "heads": 8, "kv_heads": 4, "score": True}
    world(4).run("compiled_case", name, {"spread": 2, "unit": 8}, options)


@pytest.mark.parametrize(
    ("name", "settings", "options"),
    [
        ("global", {"unit": 8}, {"score": True}),
        ("strided", {"unit": 4, "partition": "zigzag", "stages": 2}, {"backend": "reference"}),
        ("nothing for some", {"route": "ring"}, {}),
        ("mix", {"spread": 2, "unit": 8}, {"heads": 8, "kv_heads": 4, "score": True}),
        slow("mix", {"spread": 2, "unit": 8}, {"heads": 8, "kv_heads": 4, "mesh": {"heads": 2, "sequence": 2}}),
    ],
)
def test_greatest_scores_agree_with_one_process(
    world, name: str, settings: dict[str, object], options: dict[str, object]
) -> None:
    world(4).run("compiled_case", name, settings, {"max_scores": True, **options})


@pytest.mark.parametrize("route", ["relayed", slow("rounds")])
@pytest.mark.parametrize("style", ["push", "mixed"])
def test_greatest_scores_follow_queries_that_travelled(world, style: str, route: str) -> None:
    world(4).run("greatest_by_hand", "mix", style, route)


def test_ulysses_omits_lse_unless_requested(world) -> None:
    world(4).run("swapped_without_lse")


@pytest.mark.parametrize("n", [1, 3, 6])
def test_ulysses_agrees_with_fewer_tokens_than_ranks(world, n: int) -> None:
    world(4).run("compiled_case", "causal", {"spread": 2, "unit": 1}, {"n": n, "kv_heads": 2, "dtype": "bfloat16"})


def test_lengths_may_be_below_the_number_of_ranks(world) -> None:
    world(4).run("compiled_case", "causal", {}, {"n": 3})


@pytest.mark.parametrize(
    "job",
    [
        "a_mesh_of_another_size",
        "a_mesh_of_other_names",
        "shards_of_another_size",
        "schedules_that_differ",
        "tables_that_differ",
        "a_schedule_that_sends_missing_units",
        "a_schedule_without_a_pair",
        "spreads_that_do_not_divide",
        "weights_that_differ",
    ],
)
def test_mistakes_are_refused_before_any_message(world, job: str) -> None:
    world(4).run(f"jobs_refused.{job}")


@pytest.mark.parametrize("end", ["sends", "gets"])
@pytest.mark.parametrize("spread", [1, 2])
def test_inconsistent_tables_name_both_ends(world, end: str, spread: int) -> None:
    """The tables of one rank are wrong, though all schedules are equal."""
    world(4).run("jobs_refused.tables_that_do_not_fit", end, spread)


def test_tasks_are_planned_once(world) -> None:
    world(2).run("planned_once")


def test_shards_reassemble_the_whole(world) -> None:
    world(4).run("sharded_and_reassembled")


def test_descriptions_state_tokens_and_bytes(world) -> None:
    text = world(2).run("described")[0]
    assert "causal() over 61 tokens, ranks: 2 sequence" in text
    assert "bytes travel" in text


@pytest.mark.parametrize("settings", [{"stages": 2}, {"route": "ring"}, {"spread": 2}], ids=str)
def test_kept_bytes_equal_the_plan(world, settings: dict[str, object]) -> None:
    for found, planned in world(4).run("kept_for_the_backward", settings):
        assert found == planned


def test_tuned_settings_replace_simulated_ones(world, tmp_path) -> None:
    """Given settings come first, then tuned, then simulated ones."""
    scenario = Scenario(attncc.load("causal"), N, Inputs(1, 1, 1, 64, 64, "bf16"), Topology.load("gloo").subset(2))
    best = pricing.best(scenario, choose(scenario, [Sharing(parts=2)])).schedule.partition.name
    winner, given = [name for name in ("contiguous", "zigzag", "balanced") if name != best][:2]
    assert world(2).run("on_a_topology", str(tmp_path), winner, given) == [[best, winner, given]] * 2
