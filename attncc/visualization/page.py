"""The page of a pattern: one HTML file that needs no other, to look at what it connects, its plans and its owners."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import jinja2

from attncc._util import storage
from attncc.planner.plan import Plan
from attncc.version import __version__
from attncc.visualization.page_data import described


def page(plan: Plan, topology: str | None = None) -> str:
    """Return the page of a plan; with a topology it shows which device owns which tokens, by simulation."""
    data = described(plan, topology)
    parts = {name: _part(f"page.{name}") for name in ("css", "js")}
    template = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
        _part("page.jinja")
    )
    return template.render(data=data, json=embedded(data), version=__version__, **parts)


def embedded(data: object) -> str:
    """Return data as JSON that may stand in a script element: nothing in it ends the element."""
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")


def save(plan: Plan, path: Path, topology: str | None = None) -> None:
    """Write the page of a plan; raises ConfigError where the file can't be written."""
    storage.save(path, page(plan, topology).encode(), "--html")


def _part(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text("utf-8")
