"""Bars: what each measurement must reach, collected, judged, and (with --record) written to bench/README.md."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from attncc._util.machine import machine, versions

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
FIGURES = pytest.StashKey[dict[str, str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--record", action="store_true", help="Write the bars that were measured to bench/README.md.")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[BARS] = []
    config.stash[FIGURES] = {}
    config.addinivalue_line("filterwarnings", "default")  # torch.compile warns of torch's own deprecations


@pytest.fixture
def bar(request: pytest.FixtureRequest) -> Iterator[Callable[..., None]]:
    """Record bars; the test fails at its end if one is missed."""
    missed = []

    def judge(what: str, value: float, rule: str, spread: str = "") -> None:
        """Hold a figure against a rule such as "at least 20 x" or "at most 100 ms"."""
        side, limit, unit = re.fullmatch(r"at (least|most) ([\d.]+) (\S+)", rule).groups()
        met = value >= float(limit) if side == "least" else value <= float(limit)
        found = Bar(what, f"{value:.3g} {unit}", rule, met, spread)
        request.config.stash[BARS].append(found)
        if not met:
            missed.append(f"{what}: {found.reached}, {rule}")

    yield judge
    assert not missed, "; ".join(missed)


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str, list[str]], None]:
    """Record a row of the table of what a GPU reached: what it is about, and its other columns."""

    def record(what: str, columns: list[str]) -> None:
        request.config.stash[FIGURES][what] = f"| {' | '.join(columns)} |"

    return record


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    bars, figures = config.stash[BARS], config.stash[FIGURES]
    for found in bars:
        terminalreporter.write_line(
            f"{'met   ' if found.met else 'MISSED'} {found.what}: {found.reached} ({found.limit})"
        )
    for what, row in figures.items():
        terminalreporter.write_line(f"{what} {row}")
    if config.getoption("--record"):
        rows = {found.what: found.row().removeprefix(f"| {found.what} ") for found in bars}
        text = _recorded(README.read_text(encoding="utf-8"), "bars", rows)
        text = _recorded(text, "gpu", figures)
        README.write_text(_with(text, "machine", _where()) if bars else text, encoding="utf-8")


def _where() -> str:
    here, installed = machine(), versions(["attncc", "torch", "triton", "numpy"])
    where = f"{here['processor']}, {here['cores']} cores, {here['system']}, Python {here['python']}; "
    return where + ", ".join(f"{name} {version}" for name, version in installed.items())


def _recorded(text: str, name: str, rows: Mapping[str, str]) -> str:
    """Replace the rows that were measured in a table of bench/README.md; keep the others."""
    known = re.findall(r"^\| ([^|]+?) (\|.*)$", _between(text, name), flags=re.MULTILINE)
    body = "\n".join(f"| {what} {rest}" for what, rest in (dict(known) | rows).items())
    return _with(text, name, body)


def _with(text: str, name: str, body: str) -> str:
    """Return the text with `body` between the marks of `name`."""
    begin, end = f"<!-- {name} -->", f"<!-- end {name} -->"
    head, _, rest = text.partition(begin)
    return f"{head}{begin}\n{body}\n{end}{rest.partition(end)[2]}"


def _between(text: str, name: str) -> str:
    found = re.search(rf"<!-- {name} -->(.*?)<!-- end {name} -->", text, flags=re.DOTALL)
    assert found is not None, f"bench/README.md has lost its marks for {name}"
    return found[1]
