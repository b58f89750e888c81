"""Tables and plots of the results: docs/long_context.md between its markers, and pictures beside it."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attncc.visualization import figure

from .applications import Application
from .cells import RESULTS, load
from .reach import reachable

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "long_context.md"
#: Okabe and Ito's colours (2008), and black; families beyond them are dashed.
COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999")
MARKERS = "osv^D<>Ph*Xd"
#: Families that stay farther above the best one, in bits, are named with their figures instead of drawn.
DRAWN = 0.5

#: Results of one application: [family][context] -> those of each seed.
Found = Mapping[str, Mapping[int, Sequence[Mapping[str, Any]]]]


def write(known: Mapping[str, Application]) -> None:
    """Write the page's tables, and the pictures."""
    page = PAGE.read_text(encoding="utf-8")
    for name in known:
        page = _between(page, name, _table(name, known[name], RESULTS))
    page = _between(page, "less", _with_less(known["text"], RESULTS))
    PAGE.write_text(page, encoding="utf-8")
    _by_context(known["text"], DOCS / "long_context_text.png")
    told = {name: each for name, each in known.items() if each.distances and _grouped(name, RESULTS)}
    if told:
        _by_distance(told, DOCS / "long_context_tasks.png")


def tables(results: Path, known: Mapping[str, Application]) -> str:
    """Return the tables of all applications that have results, as Markdown."""
    parts = [f"{each.title}\n\n{_table(name, each, results)}" for name, each in known.items()]
    return "\n\n".join(parts)


def _table(name: str, application: Application, results: Path) -> str:
    """Return a row for each family: what was measured at each context, or at each distance."""
    found, speeds = _grouped(name, results), _speeds(name, results)
    columns = _columns(application)
    head = ["family", "sizes", *(title for title, _, _ in columns), "tokens/s", "MB"]
    lines = [f"| {' | '.join(head)} |", f"| {' | '.join('---' for _ in head)} |"]
    for family, each in application.families.items():
        cells = [
            _figure([run["judged"] for run in found.get(family, {}).get(context, ())], key, application.measure)
            for _, context, key in columns
        ]
        fast = [speeds.get((family, context)) for context in application.contexts]
        pace = [" ".join(f"{at[key]:,}" if at else "-" for at in fast) for key in ("tokens_per_second", "megabytes")]
        lines.append(f"| {' | '.join([family, each.sizes, *cells, *pace])} |")
    return "\n".join(lines)


def _with_less(application: Application, results: Path) -> str:
    """Return a row for each family: the bits of the longest context's models, in windows of each context's length."""
    found, (*shorter, longest) = _grouped("text", results), application.contexts
    head = ["family", *(f"windows of {context:,}" for context in application.contexts)]
    lines = [f"| {' | '.join(head)} |", f"| {' | '.join('---' for _ in head)} |"]
    for family in application.families:
        seeds = found.get(family, {}).get(longest, ())
        cells = [
            _figure([each["judged_with_less"][str(context)] for each in seeds], "held out", application.measure)
            for context in shorter
        ]
        whole = _figure([each["judged"] for each in seeds], "held out", application.measure)
        lines.append(f"| {' | '.join([family, *cells, whole])} |")
    return "\n".join(lines)


def _columns(application: Application) -> list[tuple[str, int, str]]:
    """Return (title, context, name of what is judged) of each column."""
    if application.measure == "bits":
        return [(f"{context:,} tokens", context, "held out") for context in application.contexts]
    return [(f"at {key}", application.contexts[0], key) for key in application.held_out(application.contexts[0])]


def _figure(judged: Sequence[Mapping[str, Any]], key: str, measure: str) -> str:
    """Return the mean over seeds, and half the distance between the farthest two."""
    values = [each[key][measure] for each in judged]
    if not values:
        return "-"
    percent = measure == "right"
    mean = statistics.mean(values)
    shown = f"{mean:.0%}" if percent else f"{mean:.3f}"
    half = (max(values) - min(values)) / 2
    return shown if len(values) == 1 else f"{shown} ± {half:.0%}" if percent else f"{shown} ± {half:.3f}"


def _grouped(name: str, results: Path) -> Found:
    found: dict[str, dict[int, list[Mapping[str, Any]]]] = {}
    for each in load(results):
        if each["application"] == name and "judged" in each:
            found.setdefault(each["family"], {}).setdefault(each["context"], []).append(each)
    return found


def _speeds(name: str, results: Path) -> Mapping[tuple[str, int], Mapping[str, Any]]:
    read = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(results.glob("speed/*.json"))]
    return {(each["family"], each["context"]): each for each in read if each["application"] == name}


def _by_context(application: Application, path: Path) -> None:
    """Draw held-out bits against the context, a line for each family."""
    made = figure.blank(9, 4.6)
    axes = made.subplots()
    found, lines = _grouped("text", RESULTS), dict[str, tuple[list[int], list[float]]]()
    for family in found:
        contexts = sorted(found[family])
        seeds = [[run["judged"]["held out"]["bits"] for run in found[family][context]] for context in contexts]
        lines[family] = contexts, [statistics.mean(each) for each in seeds]
    limit = min(min(bits) for _, bits in lines.values()) + DRAWN
    for number, family in enumerate(application.families):
        if family not in lines:
            continue
        contexts, bits = lines[family]
        if min(bits) > limit:
            axes.plot([], [], label=f"{family}, above: {min(bits):.2f} to {max(bits):.2f}", **_style(number))
        else:
            axes.plot(contexts, bits, label=family, **_style(number))
    axes.set_xscale("log", base=2)
    axes.set_xticks(application.contexts, [f"{context:,}" for context in application.contexts])
    axes.set_xlabel("context, tokens")
    axes.set_ylabel("held-out bits per byte")
    _finish(axes, "Equal parameters, equal tokens: does a longer context pay?")
    _name_lines(axes)
    figure.write(made, path)


def _by_distance(told: Mapping[str, Application], path: Path) -> None:
    """Draw what is right against the distance, and, dotted, the share of tokens that can know it by the graph."""
    made = figure.blank(4.5 * len(told) + 1.5, 4.2)
    every = made.subplots(1, len(told), sharey=True, squeeze=False)[0]
    for axes, (name, application) in zip(every, told.items(), strict=True):
        found, (context, *_) = _grouped(name, RESULTS), application.contexts
        for number, (family, each) in enumerate(application.families.items()):
            seeds, style = found.get(family, {}).get(context, ()), _style(number)
            for run in seeds[:1]:
                right = [run["judged"][str(distance)]["right"] for distance in application.distances]
                axes.plot(application.distances, right, label=family, **style)
            if seeds and each.graph is not None:
                layers = application.shape.layers
                shares = [reachable(each.graph(context), context, layers, each_) for each_ in application.distances]
                axes.plot(application.distances, shares, color=style["color"], linestyle=":", linewidth=1)
        axes.set_xscale("log", base=2)
        axes.set_xticks(application.distances, [str(each) for each in application.distances])
        axes.set_xlabel("distance, tokens")
        axes.set_ylabel("share that is right")
        _finish(axes, f"{application.title}; dotted: the graph's prediction")
    _name_lines(every[-1])
    figure.write(made, path)


def _style(number: int) -> dict[str, Any]:
    dashed = "--" if number >= len(COLOURS) else "-"
    colour = COLOURS[number % len(COLOURS)]
    return {"color": colour, "marker": MARKERS[number], "markersize": 4, "linewidth": 1.4, "linestyle": dashed}


def _finish(axes: Any, title: str) -> None:
    axes.set_title(title, fontsize=9, loc="left", fontweight="bold")
    axes.tick_params(labelsize=7)
    figure.unclutter(axes, "y")


def _name_lines(axes: Any) -> None:
    """Write the families' names to the right of the last picture, where no line runs."""
    axes.legend(fontsize=7, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _between(page: str, name: str, table: str) -> str:
    """Return the page with a table between its markers."""
    begin, end = f"<!-- {name} -->", f"<!-- end {name} -->"
    pattern = f"{re.escape(begin)}.*?{re.escape(end)}"
    return re.sub(pattern, lambda _: f"{begin}\n{table}\n{end}", page, flags=re.DOTALL)
