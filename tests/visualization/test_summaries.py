"""What notebooks show: well-formed HTML with every text escaped, made without a look at pairs or matplotlib."""

from __future__ import annotations

import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest

import attncc
from attncc.distributed.schedules.partition import Chunking, Partition
from attncc.distributed.schedules.schedule import Schedule
from attncc.planner.bisect import TileGrid


class Elements(HTMLParser):
    """Raises AssertionError for elements that aren't closed in turn; keeps their names and what they say."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.names: list[str] = []
        self.said = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.open.append(tag)
        self.names.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        self.names.append(tag)

    def handle_data(self, data: str) -> None:
        self.said += data + " "


def schedule(ranks: int = 4) -> Schedule:
    chunking = Chunking.plain(1000, 64 if ranks < 16 else 1)
    owner = np.arange(chunking.count) * ranks // chunking.count
    return Schedule(Partition("contiguous", chunking, owner, ranks), (), 0)


SHOWN = {
    "pattern": (attncc.load("strided", l=8), "64 queries"),
    "heads": (attncc.per_head([attncc.load("causal"), attncc.load("full")]), "of head 0"),
    "plan": (attncc.plan(attncc.load("strided", l=8), 512), "split"),
    "plan without counts": (attncc.plan(attncc.load("neighborhood_1d"), 256), "pass 1"),
    "score": (attncc.softcap(cap=3.0), "3·tanh(score/3)"),
    "unbound score": (attncc.alibi(), "not bound yet"),
    "schedule": (schedule(), "4, 232 to 256 tokens each"),
    "schedule of many ranks": (schedule(300), "groups of ranks"),
}


@pytest.mark.parametrize("name", SHOWN)
def test_summaries_are_elements_that_say_what_an_object_is(name: str) -> None:
    shown, said = SHOWN[name]
    assert said in Elements(shown._repr_html_()).said
    assert "\n" not in repr(shown)
    assert len(repr(shown)) < 300


def test_texts_are_escaped() -> None:
    pattern = attncc.Pattern(attncc.load("causal").subsets, "<script>alert(1)</script>")
    assert "script" not in Elements(pattern._repr_html_()).names


def test_plans_are_shown_without_a_look_at_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    def elements(*arguments: object) -> None:
        raise AssertionError("pairs were looked at")

    monkeypatch.setattr(TileGrid, "elements", elements)
    for pattern in (attncc.load("strided", l=1000), attncc.load("sliding_window", window=257)):
        plan = attncc.plan(pattern, 1_000_003)
        assert len(plan._repr_html_()) < 20_000
        assert f"{plan.nnz:,} edges" in repr(plan)


def test_summaries_import_neither_matplotlib_nor_torch() -> None:
    program = (
        "import sys, attncc; p = attncc.load('causal'); p._repr_html_(); attncc.plan(p, 64)._repr_html_();"
        "print(sorted({'matplotlib', 'torch'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@attncc.pattern
def beyond(i, j, *, ids: attncc.Table):
    """Looks up entries that no length has."""
    return ids[i + 5] == ids[j]


def test_patterns_that_no_length_fits_have_sets_and_no_picture() -> None:
    found = Elements(beyond(ids=[1, 2, 3])._repr_html_())
    assert "svg" not in found.names
    assert "ids[i + 5]" in found.said
