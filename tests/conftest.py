"""Options and Hypothesis profiles of the test suite, and where Triton's kernels run."""

from __future__ import annotations

import os
import tempfile

import pytest
import torch
from hypothesis import HealthCheck, settings

os.environ.setdefault("ATTNCC_CACHE_DIR", tempfile.mkdtemp(prefix="attncc-tests-"))
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when triton is imported


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--examples", type=int, default=None, help="Examples of each property, drawn anew in each run.")
    parser.addoption("--flips", type=int, default=None, help="Damaged bytes of each kind of file.")
    parser.addoption("--shard", default="1/1", metavar="K/N", help="Every N-th of the damaged files, from the K-th on.")
    parser.addoption("--golden", action="store_true", help="Write the generated sources that tests compare with.")


def pytest_configure(config: pytest.Config) -> None:
    """The same 300 examples in every run, unless --examples asks for others."""
    common = {
        "deadline": None,
        "suppress_health_check": [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    }
    settings.register_profile("fixed", max_examples=300, derandomize=True, database=None, **common)
    settings.register_profile("search", max_examples=config.getoption("--examples") or 1, **common)
    settings.load_profile("search" if config.getoption("--examples") else "fixed")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A search for counterexamples takes as long as it takes: no time limit under --examples or --flips."""
    if config.getoption("--examples") or config.getoption("--flips"):
        for item in items:
            item.add_marker(pytest.mark.timeout(0))


@pytest.fixture
def flips(request: pytest.FixtureRequest) -> int:
    """How many damaged bytes there are of each kind of file; a few, unless --flips asks for more."""
    return int(request.config.getoption("--flips") or 16)


@pytest.fixture
def shard(request: pytest.FixtureRequest) -> tuple[int, int]:
    """The part (k, n) of the damaged files that --shard asks for."""
    number, _, count = request.config.getoption("--shard").partition("/")
    return int(number), int(count)
