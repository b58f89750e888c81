"""A third backend is tuned by its own declarations."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from attncc import targets
from attncc.backends.base import Backend, Executable
from attncc.backends.inputs import Inputs
from attncc.configs.environment import Environment
from attncc.errors import ConfigError
from attncc.planner.options import WAYS
from attncc.targets import Target
from attncc.tune import space_files
from attncc.tune.tunables import backend_default, backend_tunables

INPUTS = Inputs(1, 2, 2, 64, 64, "fp32")


class Third(Backend):
    """Has one tunable in each direction, and one in both."""

    name = "third"
    tile = (32, 16)
    choices: Mapping[str, str | None] = {"rows": "forward", "columns": "backward", "depth": None}

    def default(self, inputs: Inputs, target: Target) -> Mapping[str, int]:
        return {"rows": inputs.head_dim, "columns": 8, "depth": 1}

    def lower(self, *_: object) -> Executable:
        raise NotImplementedError

    def check(self, config: Mapping[str, object]) -> None:
        if not all(isinstance(value, int) and name in self.choices for name, value in config.items()):
            raise ConfigError(f"{dict(config)} can't be.")


@pytest.fixture(autouse=True)
def third(install_backends: Callable[..., None]) -> None:
    install_backends(Third())


def test_tunables_include_those_of_the_planner() -> None:
    found = backend_default("third", "forward", INPUTS, targets.target("cpu"))
    assert found == {
        **{"forward.plan": WAYS[0], "forward.tile_m": 32, "forward.tile_n": 16},
        **{"rows": 64, "depth": 1},
    }
    assert "columns" in backend_tunables("third").names("backward")


def test_the_backend_checks_its_own_search_space(tmp_path: Path) -> None:
    space = tmp_path / "space.toml"
    space.write_text('title = "Rows"\n[parameters]\nrows = [32, 64]\n', encoding="utf-8")
    assert space_files.read(space, backend_tunables("third")).parameters == {"rows": (32, 64)}
    space.write_text('title = "Rows"\n[parameters]\nrows = ["many"]\n', encoding="utf-8")
    with pytest.raises(ConfigError, match="many"):
        space_files.read(space, backend_tunables("third"))


def test_the_backend_has_environments() -> None:
    found = Environment.of("third", "cpu")
    assert found.backend == "third"
    assert not found.settings


def test_search_spaces_lie_beside_the_backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[Third.__module__], "__file__", str(tmp_path / "third.py"))
    assert space_files.shipped("third") == []
    (tmp_path / "search_spaces").mkdir()
    space = tmp_path / "search_spaces" / "rows.toml"
    space.write_text('title = "Rows"\n[parameters]\nrows = [32, 64]\n', encoding="utf-8")
    assert space_files.shipped("third") == [space]
