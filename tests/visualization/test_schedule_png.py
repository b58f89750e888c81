"""The picture of a schedule: owners, bytes and times, one line for each rank or group of ranks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread

import attncc
from attncc.backends.inputs import Inputs
from attncc.distributed.schedules.sharing import Sharing
from attncc.distributed.simulation.scenario import Scenario
from attncc.distributed.topology import Topology
from attncc.visualization import figure
from attncc.visualization import schedule_panels as panels
from attncc.visualization import schedule_png as picture
from attncc.visualization.schedule_panels import RankGroups
from attncc.visualization.schedule_report import Report, report

INPUTS = Inputs(batch=1, heads=4, kv_heads=4, head_dim=64, value_dim=64, dtype="bf16")


def made(name: str, parts: int = 4, spread: int = 1, topology: str = "4xrtx4090", **fixed: Any) -> Report:
    place = Topology.load(topology).subset(parts * spread)
    scenario = Scenario(attncc.load(name), 1024, INPUTS, place)
    return report(
        scenario, [Sharing(parts=parts, ulysses_degree=spread)], fixed={"route": "direct", "stages": 1, **fixed}
    )


def drawn(axes: Any, colour: str) -> np.ndarray:
    """The lengths of the bars of a colour, float64 (lines,): all that are on a line together."""
    found = np.zeros(round(axes.get_ylim()[0] + 0.5))
    for bars in axes.collections:
        if to_rgb(bars.get_facecolor()[0]) == to_rgb(colour):
            for path in bars.get_paths():
                (left, top), (right, _) = path.vertices.min(axis=0), path.vertices.max(axis=0)
                found[round(top)] += right - left
    return found


def test_zigzag_gives_each_rank_two_pieces() -> None:
    found = made("causal", partition="zigzag")
    shares = picture.shares(found, picture.rank_groups(found.scenario.topology))
    assert np.allclose(shares.sum(axis=0), 1.0)
    eighth = shares.shape[1] // 8
    middle = [eighth * k + eighth // 2 for k in range(8)]
    assert shares[:, middle].argmax(axis=0).tolist() == [0, 1, 2, 3, 3, 2, 1, 0]


def test_ulysses_ranks_own_slices_of_their_part() -> None:
    found = made("causal", parts=2, spread=2, partition="zigzag")
    shares = picture.shares(found, picture.rank_groups(found.scenario.topology))
    middle = [shares.shape[1] * (2 * k + 1) // 8 for k in range(4)]
    assert shares[:, middle].argmax(axis=0).tolist() == [0, 2, 3, 1]


def test_bins_may_hold_units_of_several_ranks() -> None:
    found = made("causal", partition="block_cyclic", unit=1)
    shares = picture.shares(found, RankGroups("rank", np.arange(4)))
    assert np.allclose(shares.sum(axis=0), 1.0)
    assert (shares > 0).sum(axis=0).max() > 1


def test_the_matrix_holds_all_bytes_of_the_forward() -> None:
    found = made("causal", partition="contiguous")
    sent = picture.between(found, picture.rank_groups(found.scenario.topology))
    assert sent.sum() == found.traffic["forward"].total
    assert sent.sum(axis=0).tolist() == found.traffic["forward"].received.tolist()
    assert np.array_equal(sent, np.triu(sent, 1))  # keys come from earlier ranks only


def test_many_ranks_are_grouped_by_node_or_neighbourhood() -> None:
    small, large = (picture.rank_groups(Topology.load(name)) for name in ("8xh100", "1024xh100"))
    assert (small.name, small.count, small.single) == ("rank", 8, True)
    assert (large.name, large.count, large.single) == ("node", 128, False)
    star = nx.star_graph(100)
    nx.set_edge_attributes(star, {edge: {"alpha": 1e-6, "beta": 1e9} for edge in star.edges})
    nx.set_node_attributes(star, {vertex: {"target": "h100"} for vertex in range(1, 101)})
    one_node = picture.rank_groups(Topology.from_graph(star, name="star"))
    assert (one_node.name, one_node.count) == ("group of ranks", 64)


@pytest.mark.parametrize("pattern", ["causal", "sliding_window"])
def test_each_line_shows_the_spans_of_its_rank(pattern: str) -> None:
    found = made(pattern, partition="contiguous")
    axes = figure.blank(5, 3).subplots()
    panels.timeline(axes, found.best.timelines, RankGroups("rank", np.arange(4)))
    unit = 1e-3 if "ms" in axes.get_xlabel() else 1e-6
    each = found.best.timelines.values()
    computing, hidden, waiting = (
        unit * drawn(axes, colour) for colour in (panels.COMPUTING, panels.HIDDEN, panels.EXPOSED)
    )
    assert computing == pytest.approx(sum(t.busy.sum(axis=0) for t in each))
    assert waiting == pytest.approx(sum(t.waiting.sum(axis=0) for t in each))
    assert hidden + waiting == pytest.approx(sum((t.landed - t.begins).sum(axis=0) for t in each))
    assert axes.get_xlim()[1] * unit == pytest.approx(found.best.seconds)


def test_groups_draw_their_last_rank() -> None:
    timeline = made("causal", partition="contiguous").best.timelines["forward"]
    ends = timeline.ends[-1]
    assert ends.argsort().tolist() == [0, 1, 2, 3]
    assert panels.last_ranks(timeline, RankGroups("node", np.array([1, 0, 0, 1]))).tolist() == [2, 3]
    assert panels.last_ranks(timeline, RankGroups("rank", np.arange(4))).tolist() == [0, 1, 2, 3]


def test_empty_traffic_is_labelled() -> None:
    axes = figure.blank(3, 3).subplots()
    panels.traffic(axes, np.zeros((4, 4)), RankGroups("rank", np.arange(4)), "forward")
    assert [text.get_text() for text in axes.texts] == ["nothing travels"]


def test_reordered_partitions_draw_their_order(tmp_path: Path) -> None:
    picture.save(made("causal", partition="contiguous"), tmp_path / "plain.png")
    picture.save(made("causal", partition="cyclic"), tmp_path / "cyclic.png")
    assert imread(tmp_path / "cyclic.png").shape[0] > imread(tmp_path / "plain.png").shape[0]


def test_single_and_idle_ranks_are_drawn(tmp_path: Path) -> None:
    picture.save(made("causal", parts=1, partition="contiguous"), tmp_path / "one.png")
    scenario = Scenario(attncc.load("causal"), 3, INPUTS, Topology.load("4xrtx4090"), ("backward",))
    picture.save(report(scenario, [Sharing(parts=4)]), tmp_path / "three.png")
    assert imread(tmp_path / "one.png").shape == imread(tmp_path / "three.png").shape


def test_a_file_in_place_of_the_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "nowhere").write_text("in the way")
    with pytest.raises(attncc.AttnccError, match="can't be written"):
        picture.save(made("causal", partition="contiguous"), tmp_path / "nowhere" / "x.png")
