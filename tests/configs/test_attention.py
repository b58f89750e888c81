"""attention() uses tuned configurations, those of other processes included, and never fails because of one."""

from __future__ import annotations

import gc
import logging
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import attncc
from attncc._util.storage import CacheWarning
from attncc.backends.inputs import Inputs
from attncc.configs.entry import Entry
from attncc.configs.key import Key
from attncc.configs.lookup import looked_up
from attncc.configs.store import Store
from attncc.planner.shape import Shape
from attncc.runtime import executables
from attncc.runtime.call import AttentionCall
from attncc.runtime.executables import executable_for

Make = Callable[..., Entry]
STRIDED = attncc.load("strided", l=8)


def tensors(n: int = 64) -> list[torch.Tensor]:
    torch.manual_seed(0)
    return [torch.randn(2, 2, n, 8, requires_grad=True) for _ in range(3)]


def plans(direction: str = "forward", n: int = 64, config: str = "") -> set[str]:
    """The names of the plans that a call runs, by default one without a configuration."""
    q, k, v = tensors(n)
    found = executable_for(q, k, v, direction, AttentionCall(STRIDED.handle, "", 0, "torch", config))
    return {group.alternatives[0].name for group in found.plan.groups}


def other_way(direction: str = "forward") -> str:
    """A plan of strided(l=8) that isn't the cheapest one."""
    return ({"fused", "split"} - plans(direction)).pop()


def test_the_stored_plan_runs(store: Store, entry: Make) -> None:
    way = other_way()
    store.save(entry(config={"forward.plan": way}))
    assert plans() == {way}
    assert plans("backward") != {way}


def test_only_near_lengths_use_the_stored_plan(store: Store, entry: Make) -> None:
    way = other_way()
    store.save(entry(config={"forward.plan": way}))
    assert plans(n=256) == {way}
    assert plans(n=1024) == plans(n=1024, config="{}")


def test_attention_uses_configurations_of_both_directions(
    store: Store, entry: Make, caplog: pytest.LogCaptureFixture
) -> None:
    expected = [x.clone() for x in _gradients()]
    store.save(entry(config={"forward.plan": other_way(), "forward.query_tile": 16}))
    store.save(entry(direction="backward", config={"backward.plan": other_way("backward")}))
    with caplog.at_level(logging.DEBUG, "attncc"):
        for _ in range(3):
            found = _gradients()
    torch.testing.assert_close(found, expected)
    said = [record.getMessage() for record in caplog.records if record.name == "attncc"]
    assert len(said) == 2  # once for each key
    assert all("An exact configuration, measured" in each for each in said)
    assert [each.split()[0] for each in said] == ["forward", "backward"]


def _gradients() -> list[torch.Tensor]:
    q, k, v = tensors()
    out = attncc.attention(q, k, v, STRIDED)
    return [out.detach(), *torch.autograd.grad(out.square().sum(), (q, k, v))]


def test_an_explicit_configuration_wins(store: Store, entry: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    store.save(entry())

    def look_up(*arguments: object) -> None:
        raise AssertionError("looked up")

    monkeypatch.setattr(executables, "looked_up", look_up)
    q, k, v = tensors()
    attncc.attention(q, k, v, STRIDED, config={"forward.plan": "split"})
    attncc.attention(q, k, v, STRIDED, config={})
    with pytest.raises(AssertionError, match="looked up"):
        attncc.attention(q, k, v, STRIDED)


def test_a_running_process_sees_new_configurations(store: Store, entry: Make, tmp_path: Path) -> None:
    way, cheapest = other_way(), plans()
    (tmp_path / "entry").write_bytes(entry(config={"forward.plan": way}).content())
    program = (
        "import sys; from pathlib import Path; from attncc.configs.entry import Entry; "
        "from attncc.configs.store import user_store; assert user_store().save(Entry.read(Path(sys.argv[1])))"
    )
    assert plans() == cheapest
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "entry")], check=True)
    assert plans() == {way}
    store.remove(entry())
    assert plans() == cheapest


def test_configurations_saved_in_quick_succession_are_seen(store: Store, entry: Make) -> None:
    for turn in range(30):
        way = ("fused", "split")[turn % 2]
        store.save(entry(config={"forward.plan": way}))
        assert plans() == {way}


def test_a_warm_lookup_reads_no_files(store: Store, entry: Make, key: Key, monkeypatch: pytest.MonkeyPatch) -> None:
    store.save(entry())
    time.sleep(0.1)
    plans()
    monkeypatch.setattr(executables, "looked_up", None)
    plans()
    monkeypatch.setenv("ATTNCC_CACHE", "strict")
    with pytest.raises(TypeError):
        plans()


def test_freed_executables_are_lowered_without_a_new_look_up(
    store: Store, entry: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    way = other_way()
    store.save(entry(config={"forward.plan": way}))
    time.sleep(0.1)
    assert plans() == {way}
    executables._lowered.cache_clear()
    gc.collect()
    monkeypatch.setattr(executables, "looked_up", None)
    assert plans() == {way}


BAD = {
    "an unknown name": {"forward.no_such_choice": 1},
    "another backend's": {"forward.block_m": 64},
    "out of range": {"forward.query_tile": -64},
    "of the wrong type": {"forward.chunk": "many"},
    "a plan that can't be made": {"forward.tile_m": 1 << 30, "forward.tile_n": 1 << 30, "forward.chunk": 0},
}


@pytest.mark.parametrize("name", BAD)
def test_bad_configurations_are_ignored_with_one_warning(store: Store, entry: Make, name: str) -> None:
    cheapest = plans()
    store.save(entry(config=BAD[name]))
    with pytest.warns(CacheWarning, match="is not used") as caught:
        assert [plans(), plans()] == [cheapest] * 2
    assert len(caught) == 1


def test_damaged_files_are_ignored_with_one_warning(store: Store, entry: Make) -> None:
    cheapest = plans()
    store.save(entry())
    store.path(entry().environment, entry().key).write_bytes(b"{")
    with pytest.warns(CacheWarning, match="is not used") as caught:
        assert [plans(), plans()] == [cheapest] * 2
    assert len(caught) == 1


def test_assert_mode_raises_from_attention(store: Store, entry: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTNCC_CACHE", "assert")
    q, k, v = tensors()
    with pytest.raises(attncc.ConfigError, match="no tuned configuration"):
        attncc.attention(q, k, v, STRIDED)
    attncc.attention(q, k, v, STRIDED, backend="reference")  # has nothing to tune
    store.save(entry())
    attncc.attention(q, k, v, STRIDED)


def test_unknown_cache_modes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTNCC_CACHE", "sometimes")
    with pytest.raises(attncc.ConfigError, match="ATTNCC_CACHE='sometimes'"):
        attncc.attention(*tensors(), STRIDED)


def test_documents_with_other_contents_share_configurations(store: Store, entry: Make) -> None:
    def documents(length: int) -> attncc.Pattern:
        return attncc.load("document", ids=np.arange(64) // length).causal()

    one, other = documents(16), documents(15)
    sizes = Inputs(2, 2, 2, 8, 8, "fp32")
    store.save(entry(key=Key.of(one, "", Shape(64, 64), sizes, "forward", "torch", "cpu")))
    assert looked_up(other, "", Shape(64, 64), sizes, "forward", "torch", "cpu").source == "exact"


def test_compiled_graphs_look_up_configurations_at_run_time(
    store: Store, entry: Make, caplog: pytest.LogCaptureFixture
) -> None:
    torch._dynamo.reset()
    q, k, v = tensors()
    compiled = torch.compile(lambda *x: attncc.attention(*x, STRIDED) * 2, fullgraph=True, backend="aot_eager")
    expected = compiled(q, k, v)
    store.save(entry(config={"forward.query_tile": 16}))
    caplog.clear()
    with caplog.at_level(logging.DEBUG, "attncc"):
        torch.testing.assert_close(compiled(q, k, v), expected)
    assert any("An exact configuration" in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_compiled_patterns_run_the_same_plan_as_attention(store: Store, entry: Make, direction: str) -> None:
    op = attncc.compile(STRIDED, 64, heads=2, batch=2)
    default, way = op.planned(*tensors(), direction), other_way(direction)
    assert {group.alternatives[0].name for group in default.groups} == plans(direction, config="{}")
    store.save(entry(config={f"{direction}.plan": way}, direction=direction))
    for made in (op, attncc.compile(STRIDED, 64, heads=2, batch=2), attncc.compile(STRIDED)):
        found = made.planned(*tensors(), direction)
        assert {group.alternatives[0].name for group in found.groups} == plans(direction) == {way}
    given = attncc.compile(STRIDED, config={})
    assert {group.alternatives[0].name for group in given.planned(*tensors(), direction).groups} != {way}


def test_compiled_patterns_run_the_plan_that_they_report(
    store: Store, entry: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.save(entry(config={"forward.plan": other_way()}))
    op = attncc.compile(STRIDED, 64, heads=2, batch=2)
    q, k, v = tensors()
    planned, ran = op.planned(q, k, v), []
    backend = attncc.backends.get("torch")
    executables._lowered.cache_clear()
    lower = backend.lower
    monkeypatch.setattr(backend, "lower", lambda plan, *rest: ran.append(plan) or lower(plan, *rest))
    torch.testing.assert_close(op(q, k, v), attncc.attention(q, k, v, STRIDED, backend="reference"))
    assert [[group.alternatives[0].name for group in plan.groups] for plan in ran] == [
        [group.alternatives[0].name for group in planned.groups]
    ]


def test_unknown_directions_of_a_compiled_pattern_are_refused() -> None:
    with pytest.raises(attncc.ConfigError, match="forward, backward"):
        attncc.compile(STRIDED).planned(*tensors(), "sideways")
