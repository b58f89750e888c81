"""`attncc partition`: how a pattern is best shared among the devices of a topology, by simulation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attncc.cli import options, output
from attncc.cli.progress import progress
from attncc.errors import check_known
from attncc.planner.directions import BY_SHORT_NAME, ways

if TYPE_CHECKING:
    from attncc.distributed.schedules.sharing import Sharing
    from attncc.distributed.topology import Topology


Way = Annotated[str | None, typer.Option(help="How tokens find their ranks, such as zigzag.")]
Unit = Annotated[
    int | None, typer.Option(show_default="by the length", help="Tokens that stay together, a power of two.")
]
Stages = Annotated[int | None, typer.Option(help="Rounds of a direct exchange; 0 computes all of it after one.")]
Route = Annotated[str | None, typer.Option(help="How units travel: direct, tree or ring.")]
Spread = Annotated[int | None, typer.Option(min=1, help="Neighbours that swap sequence for heads.")]
Slack = Annotated[float, typer.Option(min=1.0, help="Most tokens of a rank, over an even share.")]
Png = Annotated[Path | None, typer.Option(metavar="FILE", help="Save a picture: who owns what, traffic, timeline.")]


def partition(
    pattern: options.PatternName,
    topology: options.TopologyName,
    param: options.Parameters = None,
    seq_len: options.SeqLen = 16384,
    ranks: options.Ranks = None,
    heads: options.Heads = 8,
    kv_heads: options.KvHeads = None,
    head_dim: options.HeadDim = 64,
    value_dim: options.ValueDim = None,
    batch: options.Batch = 1,
    dtype: options.Dtype = "bf16",
    direction: options.Direction = "both",
    partition: Way = None,
    unit: Unit = None,
    stages: Stages = None,
    route: Route = None,
    spread: Spread = None,
    slack: Slack = 1.25,
    png: Png = None,
    as_json: options.AsJson = False,
) -> None:
    """Share a pattern among devices that needn't be here: who owns what, what travels, and how long it takes.

    --partition, --stages, --route and --spread are tried in simulation where they aren't given. Ring, striped ring,
    Ulysses, USP and all-gather are simulated beside the choice.

    Example: attncc partition strided -p l=128 --seq-len 65536 --topology 8xh100 --png strided.png
    """
    import time

    from attncc._util.storage import check_file
    from attncc.backends.inputs import Inputs
    from attncc.cli import partition_view
    from attncc.distributed.schedules.settings import current_name
    from attncc.distributed.simulation.scenario import Scenario
    from attncc.distributed.topology import Topology
    from attncc.visualization import schedule_png as picture
    from attncc.visualization.schedule_report import report

    check_file(png, "--png")
    check_known("direction", direction, BY_SHORT_NAME)
    inputs = Inputs.given(batch, heads, kv_heads, head_dim, value_dim, dtype)
    whole = Topology.load(topology)
    devices = whole if ranks is None else whole.subset(ranks)
    scenario = Scenario(
        options.pattern_from(pattern, param), seq_len, inputs, devices, ways(BY_SHORT_NAME[direction]), slack
    )
    given = {"partition": partition and current_name(partition), "unit": unit, "stages": stages, "route": route}
    fixed = {name: value for name, value in given.items() if value is not None}
    begin = time.perf_counter()
    with progress() as on_step:
        result = report(scenario, _sharings(devices, spread), on_step, fixed)
    elapsed = time.perf_counter() - begin
    if png is not None:
        picture.save(result, png)
    if as_json:
        output.show_json({**result.describe(), "chosen_in_s": elapsed, "png": png and str(png)})
    else:
        output.show(*partition_view.rendered(result, elapsed), *([] if png is None else ["", f"saved {png}"]))


def _sharings(devices: Topology, spread: int | None) -> list[Sharing] | None:
    from attncc.distributed.schedules.sharing import Sharing

    return None if spread is None else [Sharing(parts=max(devices.count // spread, 1), ulysses_degree=spread)]
