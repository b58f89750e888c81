"""Bars: what each measurement must reach, collected, judged, and (with --record) written to bench/README.md."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from attncc.machine import machine, versions

README = Path(__file__).with_name("README.md")


@dataclass(frozen=True)
class Bar:
    """One requirement: what was measured, what was reached, and the limit it is held against."""

    what: str
    reached: str
    limit: str
    met: bool
    spread: str

    def row(self) -> str:
        return f"| {self.what} | {self.limit} | {self.reached} | {self.spread} | {'yes' if self.met else '**no**'} |"


BARS = pytest.StashKey[list[Bar]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--record", action="store_true", help="Write the bars that were measured to bench/README.md.")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[BARS] = []
    config.addinivalue_line("filterwarnings", "default")  # torch.compile warns of torch's own deprecations


@pytest.fixture
def bar(request: pytest.FixtureRequest) -> Iterator[Callable[..., None]]:
    """Record bars; the test fails at its end if one is missed."""
    missed = []

    def judge(what: str, value: float, rule: str, spread: str = "") -> None:
        """Hold a figure against a rule such as "at least 20 x" or "at most 100 ms"."""
        side, limit, unit = re.fullmatch(r"at (least|most) ([\d.]+) (\S+)", rule).groups()  # type: ignore[union-attr]
        met = value >= float(limit) if side == "least" else value <= float(limit)
        found = Bar(what, f"{value:.3g} {unit}", rule, met, spread)
        request.config.stash[BARS].append(found)
        if not met:
            missed.append(f"{what}: {found.reached}, {rule}")

    yield judge
    assert not missed, "; ".join(missed)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    bars = config.stash[BARS]
    if not bars:
        return
    terminalreporter.section("bars")
    for found in bars:
        terminalreporter.write_line(
            f"{'met   ' if found.met else 'MISSED'} {found.what}: {found.reached} ({found.limit})"
        )
    if config.getoption("--record"):
        _record(bars)


def _record(bars: list[Bar]) -> None:
    """Replace the rows of bars that were measured in the table of bench/README.md; keep the others."""
    here, installed = machine(), versions(["attncc", "torch", "triton", "numpy"])
    where = f"{here['processor']}, {here['cores']} cores, {here['system']}, Python {here['python']}; "
    where += ", ".join(f"{name} {version}" for name, version in installed.items())
    text = README.read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| ([^|]+?) (\|.*)$", _between(text, "bars"), flags=re.MULTILINE))
    rows |= {found.what: found.row().removeprefix(f"| {found.what} ") for found in bars}
    rows = {"what": "| must reach | reached | spread | met |", "---": "| --- | --- | --- | --- |"} | rows
    body = "\n".join(f"| {what} {rest}" for what, rest in rows.items())
    README.write_text(_with(_with(text, "bars", body), "machine", where), encoding="utf-8")


def _with(text: str, name: str, body: str) -> str:
    """Return the text with `body` between the marks of `name`."""
    begin, end = f"<!-- {name} -->", f"<!-- end {name} -->"
    head, _, rest = text.partition(begin)
    return f"{head}{begin}\n{body}\n{end}{rest.partition(end)[2]}"


def _between(text: str, name: str) -> str:
    found = re.search(rf"<!-- {name} -->(.*?)<!-- end {name} -->", text, flags=re.DOTALL)
    assert found is not None, f"bench/README.md has lost its marks for {name}"
    return found[1]
