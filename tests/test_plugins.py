"""Plugins: found without an import, isolated when broken, refused when two have one name."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from attncc import catalog, plugins
from attncc.errors import PatternError, PluginError

PATTERN = "import attncc\n@attncc.pattern\ndef {name}(i, j):\n    return j <= i\n"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Return a function that installs fake plugins, {entry point name: source of its module}."""

    def install(**sources: str) -> None:
        entries = list(plugins.entry_points(group=plugins.GROUP))
        for name, source in sources.items():
            (tmp_path / f"fake_{name}.py").write_text(source, encoding="utf-8")
            entries.append(EntryPoint(name.rstrip("_"), f"fake_{name}", plugins.GROUP))
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setattr(plugins, "entry_points", lambda group: entries)

    yield install
    for name in [name for name in sys.modules if name.startswith("fake_")]:
        del sys.modules[name]
    plugins.load.cache_clear()


def test_listing_imports_nothing(installed) -> None:
    installed(explosive="raise RuntimeError('imported')")
    assert "explosive" in [plugin.name for plugin in plugins.plugins()]
    assert "fake_explosive" not in sys.modules


@pytest.mark.parametrize(
    "source", ["raise RuntimeError('no')", "raise SystemExit(2)", "import nowhere_at_all", "x = ("]
)
def test_a_broken_plugin_takes_nothing_down(installed, source: str) -> None:
    installed(broken=source, good=PATTERN.format(name="fine"))
    with pytest.warns(plugins.PluginWarning, match="'broken'") as caught:
        names = {pattern.name for _, pattern in catalog.factories() + catalog.factories()}
    assert len(caught) == 1
    assert {"fine", "strided"} <= names
    with pytest.raises(PluginError, match="doctor"):
        catalog.factory("broken:anything")
    [result] = [result for result in plugins.loaded() if result.error is not None]
    assert "Traceback" in result.traceback


def test_two_plugins_with_one_name(installed) -> None:
    installed(twin=PATTERN.format(name="a"), twin_=PATTERN.format(name="b"))
    with pytest.raises(PluginError, match="Two plugins are named 'twin'"):
        plugins.plugins()


def test_two_plugins_with_one_pattern(installed) -> None:
    installed(first=PATTERN.format(name="shared"), second=PATTERN.format(name="shared"))
    with pytest.raises(PluginError, match=r"first:shared.* or second:shared"):
        catalog.factory("shared")
    assert catalog.factory("second:shared").name == "shared"


def test_an_entry_point_may_name_one_pattern(installed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "fake_single.py").write_text(PATTERN.format(name="lone") + "number = 3\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    lone = EntryPoint("lone", "fake_single:lone", plugins.GROUP)
    number = EntryPoint("number", "fake_single:number", plugins.GROUP)
    monkeypatch.setattr(plugins, "entry_points", lambda group: [lone, number])
    assert catalog.factory("lone:lone").name == "lone"
    with pytest.warns(plugins.PluginWarning), pytest.raises(PluginError, match="names a int"):
        catalog.factory("number:lone")


def test_what_a_plugin_prints_as_it_is_imported_stood_before_the_json(installed, capsys: pytest.CaptureFixture) -> None:
    installed(chatty="print('hello')\n" + PATTERN.format(name="fine"))
    assert catalog.factory("chatty:fine").name == "fine"
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "hello\n")


def test_a_panic_that_is_no_exception_took_every_command_down(installed) -> None:
    installed(panicking="class Panic(BaseException): pass\nraise Panic('oh')", good=PATTERN.format(name="fine"))
    with pytest.warns(plugins.PluginWarning, match="Panic: oh"):
        assert "fine" in {pattern.name for _, pattern in catalog.factories()}


def test_a_plugin_that_is_interrupted_is_not_broken(installed) -> None:
    installed(slow="raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        catalog.factories()


def test_an_entry_point_that_names_nothing_spoke_of_a_group_of_none(monkeypatch: pytest.MonkeyPatch) -> None:
    odd = EntryPoint("odd", "no module: at all", plugins.GROUP)
    monkeypatch.setattr(plugins, "entry_points", lambda group: [odd])
    with pytest.warns(plugins.PluginWarning), pytest.raises(PluginError, match="names 'no module: at all'"):
        catalog.factory("odd:any")


def test_a_plugin_without_patterns_had_a_blank_for_their_names(installed) -> None:
    installed(hollow="")
    with pytest.raises(PatternError, match="declares no patterns"):
        catalog.factory("hollow")
