"""Notebooks: the pages are what their scripts give when they are run, and the linked page is that of its plan."""

from __future__ import annotations

import json
import re
from pathlib import Path

import notebook_pages
import pytest

import attncc
from attncc.visualization.page_data import described


@pytest.mark.parametrize("script", notebook_pages.scripts(), ids=lambda script: script.stem)
def test_pages_are_those_of_their_scripts(script: Path) -> None:
    for path, text in notebook_pages.written(script).items():
        assert path.read_text("utf-8") == text, "run python docs/notebook_pages.py"


def test_notebooks_show_html_and_text() -> None:
    script = next(each for each in notebook_pages.scripts() if each.stem == "looking_at_a_pattern")
    kept = json.loads(script.with_suffix(".ipynb").read_text("utf-8"))
    assert kept["nbformat"] == 4
    data = [output["data"] for cell in kept["cells"] for output in cell.get("outputs", ()) if "data" in output]
    assert len(data) >= 6
    assert all("<table>" in each["text/html"] and each["text/plain"] for each in data)


def test_the_linked_page_shows_its_plan() -> None:
    text = notebook_pages.PAGE.read_text("utf-8")
    [kept] = re.findall(r'<script id="data" type="application/json">(.*?)</script>', text, re.S)
    plan = attncc.plan(notebook_pages.PATTERN, notebook_pages.LENGTH, target="cpu")
    made = json.loads(json.dumps(described(plan, None)))
    owners = json.loads(kept)
    assert owners.pop("owners")["tokens"]
    assert made.pop("owners") is None
    assert owners == made, "run python docs/notebook_pages.py"
