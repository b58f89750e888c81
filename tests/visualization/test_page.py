"""The page: one file, data that the plan has, and a script that node and a browser run."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import attncc
from attncc.planner.shape import Shape
from attncc.planner.tiles import EMPTY, FULL
from attncc.visualization import page_data
from attncc.visualization.page import embedded, page, save

STRIDED = attncc.load("strided", l=8)
SCRIPT = Path(page_data.__file__).with_name("page.js")
#: Debian's, and what others call it.
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


class Reader(HTMLParser):
    """Keeps the attributes of all elements, ids, and the texts of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.attributes: list[tuple[str, str | None]] = []
        self.scripts: list[str] = []
        self.inside = ""
        self.feed(text)
        self.close()
        self.data = json.loads(self.scripts[0])

    @property
    def ids(self) -> set[str | None]:
        return {value for name, value in self.attributes if name == "id"}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.inside = tag
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside == "script":
            self.scripts.append(data)


@pytest.fixture(scope="module")
def strided() -> str:
    return page(attncc.plan(STRIDED, 300, tile=(16, 16)), "8xh100")


def decoded(text: str, rows: int, columns: int) -> Any:
    found = "".join(int(count or 1) * letter for count, letter in re.findall(r"(\d*)([epf])", text))
    return np.array(["epf".index(letter) for letter in found], np.int8).reshape(rows, columns)


@given(arrays(np.int8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 2)))
def test_encoded_cells_are_decoded_to_themselves(cells: Any) -> None:
    assert np.array_equal(decoded(page_data.encoded(cells), *cells.shape), cells)


def test_pages_need_no_other_file(strided: str) -> None:
    found = Reader(strided)
    assert {name for name, _ in found.attributes} & {"src", "href", "srcset", "action", "background"} == set()
    assert not re.search(r"url\(|@import|import\(|fetch\(|XMLHttpRequest", strided)
    assert "default-src 'none'" in strided


def test_scripts_find_the_elements_that_they_ask_for(strided: str) -> None:
    asked = set(re.findall(r'element\("(\w+)"\)', SCRIPT.read_text("utf-8")))
    assert asked - {"shares"} <= Reader(strided).ids


def test_data_is_that_of_the_plan(strided: str) -> None:
    data, plan = Reader(strided).data, attncc.plan(STRIDED, 300, tile=(16, 16))
    assert data["title"] == "strided(l=8)"
    assert data["edges"] == plan.nnz
    ways = plan.groups[0].alternatives
    assert [way["name"] for way in data["alternatives"]] == [way.name for way in ways]
    assert [way["ms"] for way in data["alternatives"]] == [way.seconds * 1e3 for way in ways]
    for way, told in zip(ways, data["alternatives"], strict=True):
        for work, each in zip(way.passes, told["passes"], strict=True):
            assert np.array_equal(decoded(each["cells"], each["rows"], each["columns"]), work.tiles.classify())
            assert each["full"] + each["partial"] + each["empty"] == each["rows"] * each["columns"]


def test_tiles_before_the_layout_are_those_of_the_mask(strided: str) -> None:
    before, mask = Reader(strided).data["before"], attncc.dense_mask(STRIDED, 300).numpy()
    cells = decoded(before["cells"], before["rows"], before["columns"])
    for (row, column), label in np.ndenumerate(cells):
        tile = mask[row * 16 : (row + 1) * 16, column * 16 : (column + 1) * 16]
        assert (label == EMPTY) == (not tile.any())
        assert label != FULL or tile.all()


def test_owners_share_all_tokens(strided: str) -> None:
    owners = Reader(strided).data["owners"]
    assert sum(owners["tokens"]) == 300
    assert len(owners["shares"]) == len(owners["tokens"]) == 8
    owned = np.zeros(300)
    for line in owners["shares"]:
        for first, count, percent in line:
            owned[first : first + count] += percent
    assert (abs(owned - 100) <= 8).all()


def test_pages_say_why_there_are_no_owners() -> None:
    plan = attncc.plan(attncc.load("document", ids=np.arange(96).reshape(2, 48) // 9), 48, batch=2, tile=(4, 4))
    owners = Reader(page(plan, "8xh100")).data["owners"]
    assert owners["reason"]
    assert Reader(page(attncc.plan(STRIDED, 16, tile=(1, 1)))).data["owners"] is None


def test_names_end_no_script() -> None:
    pattern = attncc.Pattern(attncc.load("causal").subsets, "</script><script>alert(1)")
    found = page(attncc.plan(pattern, 8, tile=(1, 1)))
    assert found.count("<script") == 2
    assert Reader(found).data["title"] == repr(pattern)
    assert "<" not in embedded("</script>")


def test_pages_that_cannot_be_written_raise_config_errors(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(attncc.ConfigError, match="--html"):
        save(attncc.plan(STRIDED, 16, tile=(1, 1)), tmp_path / "file" / "page.html")


@pytest.mark.parametrize(("queries", "keys"), [(0, 0), (4, 0)])
def test_plans_that_pages_cannot_show_are_refused(queries: int, keys: int) -> None:
    with pytest.raises(attncc.ShapeError, match="keys"):
        page(attncc.plan(attncc.load("full"), queries, keys))


PROGRAM = """
const attncc = require(process.argv[1]);
const {level, length, size} = JSON.parse(require("fs").readFileSync(0, "utf8"));
const decoded = attncc.decoded(level);
const near = attncc.zoomed({scale: length / size, i: 0, j: 0}, 4, 100, 50, length, size);
let broken = "";
try { attncc.decode("3e", 4); } catch (error) { broken = error.message; }
console.log(JSON.stringify({
  cells: decoded.cells.map((cells) => [...cells]),
  at: attncc.cellAt([decoded], 9, 1).classes, outside: attncc.cellAt([decoded], -1, 0),
  near, far: attncc.zoomed(near, 1e-9, 0, 0, length, size), colours: [attncc.colour([0, 0], [true, true]),
  attncc.colour([2, 2], [true, true]), attncc.colour([2, 2], [false, false])], broken,
  said: [attncc.grouped(1234567), attncc.milliseconds(0.00123), attncc.milliseconds(12.34), attncc.milliseconds(5950)],
}));
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="node runs the script without a page")
def test_scripts_decode_zoom_and_colour_as_the_page_says(strided: str) -> None:
    level = page_data._level(page_data.levels(STRIDED, Shape.of(64))[0])
    given = json.dumps({"level": level, "length": 64, "size": 640})
    command = ["node", "-e", PROGRAM, str(SCRIPT)]
    found = json.loads(subprocess.run(command, input=given, capture_output=True, text=True, check=True).stdout)
    for text, cells in zip(level["sets"], found["cells"], strict=True):
        assert cells == decoded(text, 64, 64).ravel().tolist()
    assert found["at"] == [FULL, FULL]
    assert found["outside"] is None
    assert found["broken"] == "3 cells in place of 4"
    assert found["near"]["scale"] == pytest.approx(0.1 / 4)
    assert found["near"]["i"] + 50 * found["near"]["scale"] == pytest.approx(50 * 0.1)  # the point stays
    assert found["far"] == {"scale": 0.1, "i": 0, "j": 0}
    empty, both, hidden = found["colours"]
    assert empty == hidden != both
    assert found["said"] == ["1,234,567", "1.23 µs", "12.3 ms", "5.95 s"]


def test_pages_show_keys_that_are_not_positions() -> None:
    plan = attncc.plan(attncc.load("pooled"), 512, 32, tile=(16, 1))
    data = Reader(page(plan, "8xh100")).data
    assert data["lengths"] == [512, 32]
    mask = attncc.dense_mask(plan.pattern, 512, 32).numpy()
    cells = decoded(data["before"]["cells"], data["before"]["rows"], data["before"]["columns"])
    assert np.array_equal(cells == EMPTY, ~mask.reshape(32, 16, 32).any(axis=1))
    assert "Keys aren't" in data["owners"]["reason"]


def test_pages_open_and_answer_clicks_in_a_browser(strided: str, tmp_path: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    if executable is None:
        pytest.skip("no Chromium is installed")
    (tmp_path / "page.html").write_text(strided, "utf-8")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        try:
            clicked_through(browser.new_page(), (tmp_path / "page.html").as_uri(), Reader(strided).data)
        finally:
            browser.close()


def clicked_through(tab: Any, address: str, data: dict[str, Any]) -> None:
    """Open the page and use all that it has; nothing fails, and nothing is asked of a server."""
    problems: list[str] = []
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.on("console", lambda message: problems.append(message.text))
    tab.on("request", lambda request: request.url == address or problems.append(request.url))
    tab.goto(address)

    def scale() -> float:
        return float(tab.get_attribute("#map", "data-scale"))

    whole = scale()
    assert tab.inner_text("#range") == "queries 0 to 299 (down), keys 0 to 299 (right)"
    tab.click("#in")
    assert tab.inner_text("#range") == "queries 75 to 224 (down), keys 75 to 224 (right)"
    assert scale() == pytest.approx(whole / 2)
    tab.hover("#map", position={"x": 320, "y": 320})
    tab.mouse.wheel(0, -100)
    assert scale() == pytest.approx(whole / 2.5)
    assert tab.inner_text("#pair").startswith("query 150, key 150: set 1 FULL")
    tab.click("#middle")
    tab.click("#out")
    tab.click("#whole")
    assert scale() == whole
    before = tab.evaluate("document.getElementById('map').toDataURL()")
    tab.click("text=set 1 >> nth=0")
    assert tab.evaluate("document.getElementById('map').toDataURL()") != before
    for number, way in enumerate(data["alternatives"]):
        tab.click(f"#costs button >> nth={number}")
        assert tab.locator("#after figure").count() == len(way["passes"])
        assert tab.locator("#costs button[aria-pressed=true]").count() == 1
    tab.hover("#before canvas", position={"x": 2, "y": 2})
    assert tab.inner_text("#before .said") == "tile 0, 0: PARTIAL"
    tab.hover("#shares g >> nth=0")
    assert "owns" in tab.inner_text("#owners .said")
    assert problems == []
