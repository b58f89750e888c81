"""Options and Hypothesis profiles of the test suite, and where Triton's kernels run."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from importlib.metadata import entry_points as all_entry_points
from types import ModuleType

import pytest
import torch
from hypothesis import HealthCheck, settings

from attncc import backends

# Processes of pytest-xdist share the cores: the threads of one would spin while they wait for those of the others.
if "PYTEST_XDIST_WORKER" in os.environ:
    threads = max(1, (os.cpu_count() or 1) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"]))
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))  # of processes that tests start
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))

os.environ.setdefault("ATTNCC_CACHE_DIR", tempfile.mkdtemp(prefix="attncc-tests-"))
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when triton is imported


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--examples", type=int, default=None, help="Examples of each property, drawn anew in each run.")
    parser.addoption("--flips", type=int, default=None, help="Damaged bytes of each kind of file.")
    parser.addoption("--shard", default="1/1", metavar="K/N", help="Every N-th of the damaged files, from the K-th on.")
    parser.addoption("--golden", action="store_true", help="Write the generated sources that tests compare with.")


def pytest_configure(config: pytest.Config) -> None:
    """The same 100 examples in every run, unless --examples asks for others: `.ci/search` draws many more."""
    common = {
        "deadline": None,
        "suppress_health_check": [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    }
    settings.register_profile("fixed", max_examples=100, derandomize=True, database=None, **common)
    settings.register_profile("search", max_examples=config.getoption("--examples") or 1, **common)
    settings.load_profile("search" if config.getoption("--examples") else "fixed")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A search for counterexamples takes as long as it takes: no time limit under --examples or --flips."""
    if config.getoption("--examples") or config.getoption("--flips"):
        for item in items:
            item.add_marker(pytest.mark.timeout(0))


@pytest.fixture
def install_backends(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Return a function that installs backends, each by an entry point of a distribution; it adds no distribution."""
    installed = []

    def install(*added: object) -> None:
        for number, backend in enumerate(added):
            module = ModuleType(f"fake_backend_{len(installed) + number}")
            module.BACKEND = backend
            monkeypatch.setitem(sys.modules, module.__name__, module)
            name = getattr(backend, "name", "broken")
            installed.append(EntryPoint(name, f"{module.__name__}:BACKEND", "attncc.backends"))
        _forget_backends()

    def entry_points(group: str) -> list[EntryPoint]:
        return [*all_entry_points(group=group), *(entry for entry in installed if entry.group == group)]

    monkeypatch.setattr("attncc._util.entry_points.entry_points", entry_points)
    monkeypatch.setattr(backends.BACKENDS, "_results", {})
    monkeypatch.setattr(backends.BACKENDS, "_scan", None)
    yield install
    _forget_backends()


def _forget_backends() -> None:
    backends.BACKENDS._scan = None
    for function in vars(backends).values():
        if hasattr(function, "cache_clear"):
            function.cache_clear()


@pytest.fixture
def flips(request: pytest.FixtureRequest) -> int:
    """How many damaged bytes there are of each kind of file; a few, unless --flips asks for more."""
    return int(request.config.getoption("--flips") or 16)


@pytest.fixture
def shard(request: pytest.FixtureRequest) -> tuple[int, int]:
    """The part (k, n) of the damaged files that --shard asks for."""
    number, _, count = request.config.getoption("--shard").partition("/")
    return int(number), int(count)
