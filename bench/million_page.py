"""The page and the chart of the million-scale study, from its rows: docs/million_scale.md and its PNG."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from attncc.distributed.topology import Topology
from attncc.visualization import figure

DOCS = Path(__file__).parent.parent / "docs"
OTHERS = ("vanilla", "flash", "ring", "striped ring", "ulysses", "usp", "all-gather")
#: All that run the pattern's own kernels.
SPARSE = OTHERS[2:]
#: Strategies over attncc's time up to which they are as fast.
AS_FAST = 1.005

Row = dict[str, Any]

HEAD = """<!-- Written by bench/million_scale.py -->
# A million tokens, on many devices

Every family of the catalogue, at 131,072 and at 1,048,576 tokens, on every topology that comes with attncc: the
schedule that attncc chooses, beside what others do. All of it is simulated, under one model
([what it assumes](schedules.md#what-the-simulation-assumes)). `python bench/million_scale.py` does it again in
minutes, and writes this page; `bench/sweeps/million_scale.json` has every figure.

![How many times as long as attncc's schedule each strategy takes](million_scale.png)

| strategy | who holds what, and what travels | what is computed |
| --- | --- | --- |
| attncc | the fastest of the schedules that `choose` tries; only rows that the pattern needs travel | the pattern |
| vanilla | every rank gathers all keys and values | all pairs, with scores in memory |
| flash | the same | all pairs, or all causal ones; scores stay on the chip |
| ring (Liu et al. 2023) | contiguous blocks, whose keys go round | the pattern |
| striped ring (Brandon et al. 2023) | token t at rank t mod P, whose keys go round | the pattern |
| Ulysses (Jacobs et al. 2023) | sequence swapped for heads, and back, up to a rank for each head | the pattern |
| USP (Fang and Zhao 2024) | the fastest of all degrees of Ulysses in a ring, contiguous or striped | the pattern |
| all-gather (Llama 3) | keys gathered, at once or first between nodes, contiguous or striped | the pattern |

## What is assumed

- **Sizes.** On GPUs a layer of Llama 3 8B: one sequence, 32 heads and 8 key heads of 128, bf16. On `gloo`, 4
  processes of a CPU: 8 heads of 64, fp32.
- **Sparse kernels for all.** Ring, striped ring, Ulysses, USP and all-gather compute the pattern with attncc's kernels,
  at the same cost of a pair. Published implementations are dense or causal: this favours them. They send whole blocks
  of keys, whatever the pattern.
- **Work.** A pair costs what it costs in the plan for one device, wherever it is computed. Tiles that a small task
  fills badly aren't counted. This favours schedules with many small tasks, attncc's among them.
- **Dense work.** Vanilla and flash attention are rooflines of three kernels and of one (`bench/dense.py`). Vanilla's
  scores are written in blocks of rows that fit the memory.
- **Backward.** It takes 2.5 times as long as a forward, for all. Sums of gradients of keys travel in float32.
- **Overlap.** A transfer hides behind computation wherever the strategy allows it. Packing and merging rows cost
  nothing.
- **Memory.** What a rank receives isn't held against its memory: all-gather holds all keys at once.
- **The search.** One schedule serves both directions, the one with the least sum. On 64 ranks attncc tries the
  least and the greatest degree of Ulysses alone, on 1,024 ranks the greatest. It uses no hypergraphs.
- **Keys that stand for several positions** (`pooled`, `compressed_memory`) are the first of the sequence, so that
  nobody sees most of the other keys. The others send them all the same; with fewer keys they would be faster.
- **Random tables** are drawn from a seed. Those of a model are more regular, so that less travels.
"""


def write(rows: Sequence[Row], docs: Path) -> None:
    """Write the page and its chart to a folder; raises ConfigError where they can't be written."""
    (docs / "million_scale.md").write_text("\n".join([HEAD, *_found(rows), *_tables(rows)]), encoding="utf-8")
    draw(rows, docs / "million_scale.png")


def summary(row: Row) -> str:
    """Return a line on a row: what it is, how long it takes, and the best of the others."""
    where = f"{row['topology']}, {row['length']:,} tokens, {row['pattern']}"
    name, times = _best(row, OTHERS)
    return f"{where}: {_seconds(_total(row, 'attncc'))}, {name} {times:.2f} x; planned in {row['took_s']:.1f} s"


def _found(rows: Sequence[Row]) -> Iterator[str]:
    """Yield a section that says what was found."""
    yield "## What was found\n"
    yield "How many times as long as attncc's schedule the others take, forward and backward together: the geometric"
    yield "mean over the patterns, and in brackets the least and the greatest. Below 1 x the other is faster.\n"
    yield f"| topology | tokens | {' | '.join(OTHERS)} |"
    yield "| --- " * (2 + len(OTHERS)) + "|"
    for topology, length, group in _grouped(rows):
        columns = []
        for name in OTHERS:
            times = [each for each in (_times(row, name) for row in group) if each is not None]
            mean = math.exp(sum(map(math.log, times)) / len(times)) if times else 0.0
            columns.append(f"{mean:.3g} x ({min(times):.3g} to {max(times):.3g})" if times else "not possible")
        yield f"| {topology} | {length:,} | {' | '.join(columns)} |"
    yield ""
    best = [(row, *_best(row, SPARSE)) for row in rows]
    slower = [f"{_cell(row)} ({name}, {times:.3f} x)" for row, name, times in best if times < 1 / AS_FAST]
    equal = sum(1 / AS_FAST <= times <= AS_FAST for *_, times in best)
    ahead = len(rows) - equal - len(slower)
    yield f"- Of strategies with the same kernels, attncc's schedule is the fastest in {ahead} of {len(rows)} cells. In"
    yield f"  {equal} another is as fast, within {AS_FAST - 1:.1%}."
    yield f"- Another is faster in {len(slower)}{': ' + '; '.join(slower) if slower else ''}."
    alone = [row for row in rows if row["one_device"]["attncc"] < _total(row, "attncc")]
    yield f"- In {len(alone)} cells one device alone would be faster, if its memory held everything: there is little to"
    yield "  compute."
    yield "- Where every query needs every key (`causal`, and the columns of `strided`) an exact exchange sends as much"
    yield "  as a ring. What is won there is won by balance and overlap."
    yield "- Dense flash attention is a roofline that knows no tiles. Under `causal` it computes the same pairs as"
    yield "  attncc's plan, which counts whole tiles on the diagonal and, on a CPU, merges.\n"


def _tables(rows: Sequence[Row]) -> Iterator[str]:
    """Yield a table for each topology and length."""
    for topology, length, group in _grouped(rows):
        yield f"## {Topology.load(topology).title}: {length:,} tokens\n"
        yield (
            "| pattern | density | forward | backward | busiest rank receives | schedule | " + " | ".join(OTHERS) + " |"
        )
        yield "| --- " * (6 + len(OTHERS)) + "|"
        for row in group:
            own = row["strategies"]["attncc"]
            times = [_times(row, name) for name in OTHERS]
            said = f"`{row['pattern']}`" + (f", {row['parameters']}" if row["parameters"] else "")
            columns = [said, f"{100 * row['density']:.2g}%", _seconds(own["forward"]), _seconds(own["backward"])]
            columns += [_bytes(sum(own["busiest"].values())), f"{row['chosen']['partition']}, {row['exchange']}"]
            columns += ["-" if each is None else f"{each:.3g} x" for each in times]
            yield f"| {' | '.join(columns)} |"
        yield ""


def draw(rows: Sequence[Row], path: Path) -> None:
    """Draw how many times as long as attncc's schedule each strategy takes, a panel for each topology and length."""
    groups = list(_grouped(rows))
    lengths = sorted({length for _, length, _ in groups})
    topologies = list(dict.fromkeys(topology for topology, _, _ in groups))
    names = list(dict.fromkeys(row["pattern"] for row in rows))
    made = figure.blank(2.6 * len(topologies) + 1.6, (0.2 * len(names) + 0.9) * len(lengths) + 0.6)
    panels = made.subplots(len(lengths), len(topologies), sharex="col", sharey=True, squeeze=False)
    for topology, length, group in groups:
        axes = panels[lengths.index(length), topologies.index(topology)]
        axes.axvline(1.0, color=figure.GREY, linewidth=1.0)
        for name, (color, marker) in zip(OTHERS, figure.STYLES, strict=True):
            points = [(_times(row, name), names.index(row["pattern"])) for row in group]
            x, y = np.array([(t, at) for t, at in points if t is not None], float).reshape(-1, 2).T
            axes.plot(x, y, color=color, marker=marker, markersize=4, linestyle="", label=name, alpha=0.85)
        axes.set_xscale("log")
        axes.set_yticks(range(len(names)), names, fontsize=7)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.tick_params(axis="x", labelsize=7)
        figure.unclutter(axes)
        axes.set_title(f"{topology}, {length:,} tokens", fontsize=8, loc="left", fontweight="bold")
    made.supxlabel("time over that of attncc's schedule, forward and backward (simulated)", fontsize=8)
    handles, labels = panels[0, 0].get_legend_handles_labels()
    made.legend(handles, labels, loc="outside upper center", ncols=len(OTHERS), fontsize=8, frameon=False)
    figure.write(made, path)


def _grouped(rows: Sequence[Row]) -> Iterator[tuple[str, int, list[Row]]]:
    """Yield topology, length and rows, in the order of the rows."""
    groups: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["topology"], row["length"]), []).append(row)
    for (topology, length), group in groups.items():
        yield topology, length, group


def _total(row: Row, name: str) -> float | None:
    """Return the seconds of forward and backward, None where it isn't possible."""
    ways = row["strategies"][name]
    return None if ways["forward"] is None else float(ways["forward"] + ways["backward"])


def _times(row: Row, name: str) -> float | None:
    """Return a strategy's time over attncc's."""
    seconds, own = _total(row, name), _total(row, "attncc")
    return None if seconds is None or own is None else seconds / own


def _best(row: Row, names: Sequence[str]) -> tuple[str, float]:
    """Return the fastest of some strategies, and its time over attncc's."""
    times = {name: each for name in names if (each := _times(row, name)) is not None}
    name = min(times, key=times.__getitem__)
    return name, times[name]


def _cell(row: Row) -> str:
    return f"`{row['pattern']}` at {row['length']:,} on {row['topology']}"


def _seconds(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds:.3g} s" if seconds >= 1 else f"{1e3 * seconds:.3g} ms"


def _bytes(count: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} B"
