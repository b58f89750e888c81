"""A page and a picture for each family of patterns, from what docs/families/NAME.py says of it:

python docs/family_pages.py [NAME]...

writes docs/families/NAME.md and docs/families/NAME.png.
"""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import attncc
from attncc.frontend.plugins import patterns_of
from attncc.visualization.connectivity_png import save_gallery

FOLDER = Path(__file__).with_name("families")
#: What the columns of the table say.
LEGEND = """
Edges are the pairs of a query and a key that it sees. The last column says how many times as long dense attention is
predicted to take on a CPU, causal or over all pairs. Below 1 x the pattern doesn't pay at that length. `attncc plan
PATTERN --seq-len N` says so for others ([Reading a plan](../reading_plans.md)).
""".strip()
#: Positions of the pictures: as many as a picture has cells a side, so that each cell is a pair.
DRAWN = 128


@dataclass(frozen=True)
class Example:
    """A pattern of a family with parameters, whose edges a formula counts.

    Attributes:
        name: The pattern in the catalogue.
        parameters: Its parameters; tables and lists are arrays.
        n: Queries, and keys if `keys` is None.
        edges: The formula of the number of edges, as text: "N w - w (w - 1) / 2".
        count: The value of the formula for these parameters.
        keys: Where they aren't positions, such as compressed ones.
    """

    name: str
    parameters: Mapping[str, Any]
    n: int
    edges: str
    count: int
    keys: int | None = None

    @cached_property
    def plan(self) -> attncc.Plan:
        """How it runs on one head, on a CPU."""
        return attncc.plan(attncc.load(self.name, **self.parameters), self.n, self.keys, target="cpu")


@dataclass(frozen=True)
class Family:
    """What a page says.

    Attributes:
        plugin: The name of the entry point.
        title: The heading.
        paper: Authors, year, title and sections.
        definition: The connectivity sets, in the paper's terms.
        text: What else there is to know: how it differs from other implementations, and how it is used. Markdown.
        examples: What is counted and planned.
        drawn: What the picture shows, at DRAWN positions: pattern names with parameters.
        drawn_keys: Keys of each picture, where one has others than positions.
    """

    plugin: str
    title: str
    paper: str
    definition: str
    text: str
    examples: tuple[Example, ...]
    drawn: tuple[tuple[str, Mapping[str, Any]], ...] = field(default=())
    drawn_keys: tuple[int, ...] = ()

    def patterns(self) -> list[attncc.Pattern]:
        """Return what the picture shows, from left to right."""
        return [attncc.load(name, **parameters) for name, parameters in self.drawn]


def families() -> list[Family]:
    """Return the families of docs/families, sorted."""
    return [_family(path) for path in sorted(FOLDER.glob("*.py"))]


def page(family: Family) -> str:
    """Return a family's page, in Markdown."""
    parts = [
        "<!-- Written by docs/family_pages.py -->",
        f"# {family.title}",
        family.paper,
        "## Definition",
        family.definition.strip(),
        f"![{family.title}: which keys each query sees]({family.plugin}.png)",
        "## Declaration",
        f"```python\n{_source(family)}\n```",
        "## Edges and cost",
        LEGEND,
        _table(family),
        family.text.strip(),
    ]
    return "\n\n".join(parts) + "\n"


def _table(family: Family) -> str:
    rows = ["| pattern | N | edges | by formula | by plan | density | plan | dense, predicted |", "| --- " * 8 + "|"]
    for example in family.examples:
        plan, call = example.plan, _call(example)
        chosen = " + ".join(dict.fromkeys(group.alternatives[0].name for group in plan.groups))
        rows.append(
            f"| `{call}` | {_lengths(example)} | {example.edges} | {example.count:,} | {plan.nnz:,} "
            f"| {plan.density:.2%} | {chosen} | {_dense(plan)} |"
        )
    return "\n".join(rows)


def _dense(plan: attncc.Plan) -> str:
    baseline = plan.dense
    return f"{'causal' if baseline.causal else 'all pairs'}, {baseline.over:.3g} x" if baseline.over else ""


def _lengths(example: Example) -> str:
    return f"{example.n:,}" if example.keys is None else f"{example.n:,} x {example.keys:,}"


def _call(example: Example) -> str:
    shown = ", ".join(f"{key}={_value(value)}" for key, value in example.parameters.items())
    return f"{example.name}({shown})"


def _value(value: Any) -> str:
    shape = getattr(value, "shape", None)
    return repr(value) if shape is None else f"<{' x '.join(map(str, shape))}>"


def _source(family: Family) -> str:
    package = importlib.import_module(f"attncc_{family.plugin}")
    declaring = dict.fromkeys(p.function.__module__ for p in patterns_of(package).values())
    modules = [importlib.import_module(name) for name in declaring if name.startswith(package.__name__)]
    return "\n\n\n".join(inspect.getsource(module).split("\n\n\n", 1)[1].strip() for module in modules)


def _family(path: Path) -> Family:
    spec = importlib.util.spec_from_file_location(f"family_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: Family = module.FAMILY
    return found


def main(names: list[str]) -> None:
    """Write the pages and pictures of these families, or of all."""
    for family in families():
        if not names or family.plugin in names:
            (FOLDER / f"{family.plugin}.md").write_text(page(family), encoding="utf-8")
            save_gallery(family.patterns(), DRAWN, FOLDER / f"{family.plugin}.png", family.drawn_keys)


if __name__ == "__main__":
    main(sys.argv[1:])
