"""The declarations of every backend, which the tuner and the lookup of configurations read."""

from __future__ import annotations

from pathlib import Path

import pytest

import attncc
from attncc import backends, targets
from attncc.backends.inputs import Inputs
from attncc.errors import ConfigError
from attncc.planner.directions import DIRECTIONS

INPUTS = Inputs(1, 2, 2, 64, 64, "fp32")
PACKAGE = Path(attncc.__file__).parent


@pytest.mark.parametrize("name", backends.names())
def test_each_backend_accepts_its_own_defaults(name: str) -> None:
    backend = backends.known(name)
    default = backend.default(INPUTS, targets.target("cpu"))
    assert list(default) == list(backend.choices)
    assert set(backend.choices.values()) <= {None, *DIRECTIONS}
    backend.check(default)
    with pytest.raises(ConfigError, match="no_such_choice"):
        backend.check({"no_such_choice": 1})


@pytest.mark.parametrize("name", backends.tuned())
def test_sources_of_each_tunable_backend_exist(name: str) -> None:
    sources = backends.sources(name)
    assert f"backends/{name}" in sources
    assert all((PACKAGE / source).exists() for source in sources)
