"""Plugins: found without an import, isolated if broken or hanging, told apart if several share a name."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Sequence
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from attncc._util import entry_points, foreign
from attncc.errors import ConfigError, PatternError, PluginError
from attncc.frontend import catalog
from attncc.frontend.plugins import PATTERNS

PATTERN = "import attncc\n@attncc.pattern\ndef {name}(i, j):\n    return j <= i\n"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Return a function that installs fake plugins, {entry point name: source of its module}."""

    def install(**sources: str) -> None:
        entries = list(entry_points.entry_points(group=PATTERNS.name))
        for name, source in sources.items():
            (tmp_path / f"fake_{name}.py").write_text(source, encoding="utf-8")
            entries.append(EntryPoint(name.rstrip("_"), f"fake_{name}", PATTERNS.name))
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setattr(entry_points, "entry_points", lambda group: entries)

    monkeypatch.setattr(PATTERNS, "_results", {})
    monkeypatch.setattr(entry_points, "_warned", set())
    yield install
    for name in [name for name in sys.modules if name.startswith("fake_")]:
        del sys.modules[name]


@pytest.fixture
def twins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Return a function that installs distributions, each with a plugin `twin`: {distribution: its patterns}."""

    def install(**patterns: Sequence[str]) -> None:
        for distribution, names in patterns.items():
            source = "import attncc\n" + "".join(PATTERN.format(name=name).partition("\n")[2] for name in names)
            (tmp_path / f"fake_{distribution}.py").write_text(source, encoding="utf-8")
            metadata = tmp_path / f"{distribution}-1.0.dist-info"
            metadata.mkdir()
            (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
            (metadata / "entry_points.txt").write_text(f"[attncc.patterns]\ntwin = fake_{distribution}\n")
        monkeypatch.syspath_prepend(tmp_path)

    monkeypatch.setattr(PATTERNS, "_results", {})
    monkeypatch.setattr(entry_points, "_warned", set())
    yield install
    for name in [name for name in sys.modules if name.startswith("fake_")]:
        del sys.modules[name]


def test_listing_imports_nothing(installed) -> None:
    installed(explosive="raise RuntimeError('imported')")
    assert "explosive" in [plugin.name for plugin in PATTERNS.plugins()]
    assert "fake_explosive" not in sys.modules


@pytest.mark.parametrize(
    "source", ["raise RuntimeError('no')", "raise SystemExit(2)", "import nowhere_at_all", "x = ("]
)
def test_broken_plugins_do_not_affect_others(installed, source: str) -> None:
    installed(broken=source, good=PATTERN.format(name="fine"))
    with pytest.warns(entry_points.PluginWarning, match="'broken'") as caught:
        names = {pattern.name for _, pattern in catalog.factories() + catalog.factories()}
    assert len(caught) == 1
    assert {"fine", "strided"} <= names
    with pytest.raises(PluginError, match="doctor"):
        catalog.factory("broken:anything")
    [result] = [result for result in PATTERNS.loaded() if result.error is not None]
    assert "Traceback" in result.traceback


def test_plugins_of_one_name_warn_and_remain_available(twins) -> None:
    twins(left=["mine", "shared"], right_side=["other", "shared"])
    with pytest.warns(entry_points.PluginWarning, match=r"'left/twin' \(fake_left of left 1.0\) and 'right_side/twin'"):
        assert {"left/twin", "right_side/twin"} <= {plugin.reference for plugin in PATTERNS.plugins()}
    named = {f"{plugin}:{pattern.name}" for plugin, pattern in catalog.factories()}  # without a second warning
    assert {"left/twin:mine", "right_side/twin:other", "left/twin:shared", "right_side/twin:shared"} <= named
    for name in ("mine", "twin:mine", "left/twin:mine", "fake_left/twin:mine", "twin:other", "Right.Side/twin:other"):
        assert catalog.factory(name).name == name.rpartition(":")[2]
    for name in ("shared", "twin:shared"):
        with pytest.raises(PluginError, match=r"left/twin:shared .* or right_side/twin:shared"):
            catalog.factory(name)
    found = [catalog.factory(f"{place}/twin:shared").function.__module__ for place in ("left", "right_side")]
    assert found == ["fake_left", "fake_right_side"]
    with pytest.raises(PatternError, match="no pattern 'nothing'"):
        catalog.factory("twin:nothing")
    with pytest.raises(PluginError, match="Unknown plugin 'middle/twin'"):
        catalog.factory("middle/twin:shared")


def test_plugins_of_one_name_and_distribution_go_by_module(installed) -> None:
    installed(twin=PATTERN.format(name="a"), twin_=PATTERN.format(name="a"))
    with pytest.warns(entry_points.PluginWarning, match="2 plugins are named 'twin'"):
        assert catalog.factory("fake_twin_/twin:a").function.__module__ == "fake_twin_"
    with pytest.raises(PluginError, match=r"fake_twin/twin:a .* or fake_twin_/twin:a"):
        catalog.factory("twin:a")


def test_disabled_plugins_are_not_imported(twins, monkeypatch: pytest.MonkeyPatch) -> None:
    twins(left=["shared"], right=["shared"])
    monkeypatch.setenv(entry_points.DISABLED, "left/twin, sparse_transformer")
    enabled = {plugin.reference for plugin in PATTERNS.plugins()}
    assert {"basic", "twin"} <= enabled
    assert "sparse_transformer" not in enabled
    assert catalog.factory("shared").function.__module__ == "fake_right"
    assert "fake_left" not in sys.modules
    with pytest.raises(PluginError, match=f"left out: {entry_points.DISABLED}=left/twin"):
        catalog.factory("sparse_transformer:strided")


def test_unreadable_metadata_excludes_one_distribution(twins, tmp_path: Path) -> None:
    twins(left=["mine"], damaged=["other"])
    (tmp_path / "damaged-1.0.dist-info" / "entry_points.txt").write_bytes(b"[attncc.patterns]\ntwin = \xff\xfe\n")
    with pytest.warns(entry_points.PluginWarning, match=r"damaged-1.0.dist-info can't be read"):
        assert {"basic", "sparse_transformer", "twin"} <= {plugin.reference for plugin in PATTERNS.plugins()}


HANGING = """
import time
def spin():
    while True:
        pass
def sleep():
    time.sleep(600)
def wait():
    import threading
    threading.Event().wait()
def cling():
    for turn in range(3):
        try:
            time.sleep(600)
        except BaseException:
            pass
    raise RuntimeError("at last")
"""


@pytest.mark.parametrize("how", ["spin", "sleep", "wait", "cling"])
def test_hanging_plugins_are_named_and_interrupted(
    installed, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    catalog.factories()  # what is shipped may take longer to import on a busy machine
    monkeypatch.setenv(foreign.TIMEOUT, "0.2")
    monkeypatch.setattr(foreign, "SILENCE", 0.05)
    monkeypatch.setattr(foreign, "AGAIN", 0.05)
    installed(hanging=f"{HANGING}{how}()\n", good=PATTERN.format(name="fine"))
    before = signal.getsignal(signal.SIGURG), sys.stdout
    reason = "at last" if how == "cling" else "It took more than 0.2 s to import"
    with pytest.warns(entry_points.PluginWarning, match=f"Plugin 'hanging' of .*: {reason}"):
        assert "fine" in {pattern.name for _, pattern in catalog.factories() + catalog.factories()}
    assert (signal.getsignal(signal.SIGURG), sys.stdout) == before
    [record] = [each for each in caplog.records if "hanging" in each.getMessage()]
    assert "still being imported, and is interrupted after 0.2 s (ATTNCC_PLUGIN_TIMEOUT)" in record.getMessage()
    assert "ATTNCC_DISABLED_PLUGINS=hanging leaves it out" in record.getMessage()


def test_invalid_time_limits_are_refused(installed, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(good=PATTERN.format(name="fine"))
    for text in ("soon", "-1", "nan", "inf"):
        monkeypatch.setenv(foreign.TIMEOUT, text)
        with pytest.raises(ConfigError, match=f"ATTNCC_PLUGIN_TIMEOUT='{text}'"):
            catalog.factory("good:fine")
    monkeypatch.setenv(foreign.TIMEOUT, "0")
    assert catalog.factory("good:fine").name == "fine"


def test_slow_plugins_in_other_threads_are_named_without_interruption(
    installed, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(foreign.TIMEOUT, "0.2")
    monkeypatch.setattr(foreign, "SILENCE", 0.05)
    monkeypatch.setattr(foreign, "released", threading.Event(), raising=False)
    installed(slow="from attncc._util import foreign\nforeign.released.wait(60)\n" + PATTERN.format(name="late"))
    found: list[str] = []
    thread = threading.Thread(target=lambda: found.append(catalog.factory("slow:late").name))
    thread.start()
    while "fake_slow" not in sys.modules:
        time.sleep(0.01)
    with (
        pytest.warns(entry_points.PluginWarning, match="another thread"),
        pytest.raises(PluginError, match="another thread"),
    ):
        catalog.factory("slow:late")
    while not any("can't be interrupted here" in record.getMessage() for record in caplog.records):
        time.sleep(0.01)
    foreign.released.set()
    thread.join(60)
    assert found == ["late"]
    assert catalog.factory("slow:late").name == "late"  # it is only slow


def test_concurrent_threads_import_each_plugin_once(installed, tmp_path: Path) -> None:
    (tmp_path / "counted").write_text("")
    count = f"with open({str(tmp_path / 'counted')!r}, 'a') as file: file.write('x')\n"
    slow = "import time\nprint('hello')\ntime.sleep(0.02)\n" + count
    installed(one=slow + PATTERN.format(name="a"), two=slow + PATTERN.format(name="b"), bad=slow + "raise ValueError\n")
    stdout, found = sys.stdout, list[set[str]]()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        threads = [
            threading.Thread(target=lambda: found.append({pattern.name for _, pattern in catalog.factories()}))
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert sys.stdout is stdout
    assert len(found) == 8
    assert all({"a", "b", "strided"} <= names for names in found)
    assert (tmp_path / "counted").read_text() == "xxx"
    assert ["'bad'" in str(each.message) for each in caught] == [True]


MUTE = "class Mute({base}):\n    def __str__(self): raise {raised}\n    __repr__ = __str__\nraise Mute()\n"


@pytest.mark.parametrize("base", ["Exception", "BaseException", "ImportError"])
@pytest.mark.parametrize("raised", ["RuntimeError('no')", "SystemExit(3)"])
def test_errors_without_a_message_are_named_by_type(installed, base: str, raised: str) -> None:
    installed(mute=MUTE.format(base=base, raised=raised))
    with (
        pytest.warns(entry_points.PluginWarning, match="Mute: <a Mute that has no text>"),
        pytest.raises(PluginError, match="Mute: <a Mute that has no text>"),
    ):
        catalog.factory("mute:any")


def test_escape_sequences_in_errors_are_spelled_out(installed) -> None:
    installed(loud="raise ValueError('\\x1b[2J\\x07 hear\\r me')")
    with (
        pytest.warns(entry_points.PluginWarning, match=r"ValueError: \\x1b\[2J\\x07 hear\\r me"),
        pytest.raises(PluginError, match=r"\\x1b\[2J") as caught,
    ):
        catalog.factory("loud:any")
    assert "\x1b" not in str(caught.value) + caught.value.problem


def test_plugins_cannot_replace_the_streams(installed) -> None:
    before = sys.stdout, sys.stderr
    installed(swapping="import io, sys\nsys.stdout = sys.stderr = io.StringIO()\n" + PATTERN.format(name="fine"))
    assert catalog.factory("swapping:fine").name == "fine"
    assert (sys.stdout, sys.stderr) == before


def test_processes_forked_by_a_plugin_end(installed, tmp_path: Path) -> None:
    installed(forking="import os\npid = os.fork()\n" + PATTERN.format(name="fine"))
    catalog.factory("forking:fine")
    with (tmp_path / "processes").open("a") as file:
        file.write(f"{os.getpid()}\n")
    pid = sys.modules["fake_forking"].pid
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
    assert (tmp_path / "processes").read_text() == f"{os.getpid()}\n"


def test_ambiguous_pattern_names_are_refused(installed) -> None:
    installed(first=PATTERN.format(name="shared"), second=PATTERN.format(name="shared"))
    with pytest.raises(PluginError, match=r"first:shared.* or second:shared"):
        catalog.factory("shared")
    assert catalog.factory("second:shared").name == "shared"


def test_plugins_may_share_a_pattern(installed) -> None:
    installed(first=PATTERN.format(name="moved"), second="from fake_first import moved")
    found = [catalog.factory(name) for name in ("moved", "first:moved", "second:moved")]
    assert found[0] is found[1] is found[2]


def test_an_entry_point_may_name_one_pattern(installed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "fake_single.py").write_text(PATTERN.format(name="lone") + "number = 3\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    lone = EntryPoint("lone", "fake_single:lone", PATTERNS.name)
    number = EntryPoint("number", "fake_single:number", PATTERNS.name)
    monkeypatch.setattr(entry_points, "entry_points", lambda group: [lone, number])
    monkeypatch.setattr(PATTERNS, "_scan", None)
    assert catalog.factory("lone:lone").name == "lone"
    with pytest.warns(entry_points.PluginWarning), pytest.raises(PluginError, match="names a int"):
        catalog.factory("number:lone")


def test_prints_during_import_go_to_stderr(installed, capsys: pytest.CaptureFixture) -> None:
    installed(chatty="print('hello')\n" + PATTERN.format(name="fine"))
    assert catalog.factory("chatty:fine").name == "fine"
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "hello\n")


def test_plugins_that_raise_base_exceptions_do_not_affect_others(installed) -> None:
    installed(panicking="class Panic(BaseException): pass\nraise Panic('oh')", good=PATTERN.format(name="fine"))
    with pytest.warns(entry_points.PluginWarning, match="Panic: oh"):
        assert "fine" in {pattern.name for _, pattern in catalog.factories()}


def test_interrupts_during_import_propagate(installed) -> None:
    installed(slow="raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        catalog.factories()


def test_metadata_is_read_again_only_after_an_install(twins, monkeypatch: pytest.MonkeyPatch) -> None:
    twins(left=["twin"])
    for _ in range(2):  # Python's folder of bytecode appears with the first
        catalog.load("twin")
    scans = []
    monkeypatch.setattr(entry_points, "entry_points", lambda group: scans.append(group) or [])
    catalog.load("twin")
    assert scans == []
    monkeypatch.undo()
    with pytest.raises(PatternError):
        catalog.load("twin")  # its folder is no longer on the path


def test_malformed_entry_points_are_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    odd = EntryPoint("odd", "no module: at all", PATTERNS.name)
    monkeypatch.setattr(entry_points, "entry_points", lambda group: [odd])
    monkeypatch.setattr(PATTERNS, "_scan", None)
    with pytest.warns(entry_points.PluginWarning), pytest.raises(PluginError, match="names 'no module: at all'"):
        catalog.factory("odd:any")


def test_plugins_without_patterns_are_reported(installed) -> None:
    installed(hollow="")
    with pytest.raises(PatternError, match="declares no patterns"):
        catalog.factory("hollow")
