"""Sweeps: doubling lengths, times of each, and contestants that are skipped with the reason."""

from __future__ import annotations

from pathlib import Path

import pytest

import attncc
from attncc.measure.comparison import DENSE, OURS
from attncc.measure.sweep import Sweep, lengths, sweep
from attncc.measure.workload import Workload
from attncc.visualization import sweep_png

WORK = Workload(256, heads=1, kv_heads=1, head_dim=8)
STRIDED = attncc.load("strided", l=8)


@pytest.fixture(scope="module")
def swept() -> Sweep:
    return sweep(STRIDED, WORK, rounds=1)


@pytest.mark.parametrize(
    ("longest", "expected"),
    [(16384, [512, 1024, 2048, 4096, 8192, 16384]), (300, [75, 150, 300]), (64, [64]), (10, [10])],
)
def test_lengths_double_up_to_the_longest(longest: int, expected: list[int]) -> None:
    assert lengths(longest) == expected


def test_both_contestants_are_timed_at_each_length(swept: Sweep) -> None:
    assert [point.length for point in swept.points] == [64, 128, 256]
    for point in swept.points:
        assert set(point.timings) == {OURS, DENSE}
        assert point.skipped == {}
        assert point.plan.shape.q_len == point.length
        dense, ours = (point.timings[who]["forward"].median for who in (DENSE, OURS))
        assert point.speedup("forward") == dense / ours
    assert swept.describe()["dense_baseline"] == "causal"


def test_slow_contestants_are_skipped_from_a_length_on() -> None:
    found = sweep(STRIDED, WORK, rounds=1, limit=0.0)
    assert [set(point.timings) for point in found.points] == [{OURS, DENSE}, set(), set()]
    assert "the limit is 0 µs" in found.points[1].skipped[DENSE]
    assert found.points[2].skipped[DENSE] == "a shorter length was skipped"
    assert found.points[2].speedup("forward") is None
    assert found.describe()["points"][2]["timings"] == {}


def test_dense_attention_may_be_left_out() -> None:
    found = sweep(STRIDED, Workload(64, heads=1, kv_heads=1, head_dim=8), rounds=1, dense=False)
    assert set(found.points[0].timings) == {OURS}


def test_lengths_that_tables_lack_raise_before_anything_runs() -> None:
    steps: list[str] = []
    with pytest.raises(attncc.TableError):
        sweep(attncc.load("document", ids=[0] * 200), WORK, rounds=1, on_step=steps.append)
    assert steps == ["planning"]


def test_axes_end_with_the_lengths(swept: Sweep, tmp_path: Path) -> None:
    [axes] = sweep_png.drawn(swept).axes
    assert axes.get_xlim() == (64, 256)
    assert len(axes.lines) == 4
    sweep_png.save(swept, tmp_path / "sweep.png")
    assert (tmp_path / "sweep.png").read_bytes().startswith(b"\x89PNG")


def test_titles_of_sweeps_lie_inside_the_picture() -> None:
    pattern = attncc.per_head([attncc.load("strided", l=8)] * 12)
    made = sweep_png.drawn(Sweep(pattern, WORK, "torch", "causal", 1.0, sweep(STRIDED, WORK, rounds=1).points[:1]))
    made.canvas.draw()
    box = made.axes[0].title.get_window_extent()
    assert 0 <= box.x0 <= box.x1 <= made.bbox.width
    assert box.y1 <= made.bbox.height
