"""explain_config(): the configuration that attention() would use, and why."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import attncc
from attncc.configs.entry import Entry, about
from attncc.configs.environment import Environment
from attncc.configs.store import user_store

STRIDED = attncc.load("strided", l=16)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTNCC_CACHE_DIR", str(tmp_path))
    for name in ("ATTNCC_CACHE", "ATTNCC_CONFIG_PATH"):
        monkeypatch.delenv(name, raising=False)


def _tune(n: int) -> None:
    [found] = attncc.explain_config(STRIDED, n, backend="torch", target="cpu", direction="forward").directions
    environment, seconds = Environment.of("torch", "cpu"), {"best": 2.0, "default": 3.0}
    entry = Entry(found.key, environment, {"forward.plan": "fused"}, "measured", seconds, about=about(STRIDED, n, n))
    assert user_store().save(entry)


def test_explanations_name_the_source() -> None:
    _tune(1024)
    near, far = (attncc.explain_config(STRIDED, n, backend="torch", target="cpu") for n in (2048, 1 << 16))
    assert [each.found.source for each in near.directions] == ["nearest", "default"]
    assert [each.found.source for each in far.directions] == ["default", "default"]
    text = str(near)
    assert "strided(l=16), 2,048 queries, 2,048 keys" in text
    assert "The nearest configuration, measured, 1.50 x the default's speed, tuned 1.00 octaves away" in text
    assert "forward.plan=fused" in text
    assert "~1,024 queries, not ~65,536 queries" in str(far.directions[0].why_miss()[0])


def test_explanations_are_serialisable() -> None:
    _tune(1024)
    found = json.loads(json.dumps(attncc.explain_config(STRIDED, 1024, backend="torch", target="cpu").describe()))
    forward = found["directions"]["forward"]
    assert (forward["source"], forward["mode"], forward["speedup"]) == ("exact", "measured", 1.5)
    assert forward["tuned_for"] == {"pattern": "strided(l=16)", "q_len": 1024, "kv_len": 1024}
    assert found["directions"]["backward"]["source"] == "default"


def test_absent_gpus_can_be_explained() -> None:
    found = attncc.explain_config(STRIDED, 1024, target="sm_90", dtype="bf16", heads=8, kv_heads=2)
    assert {(each.key.backend, each.key.dtype, each.key.kv_heads) for each in found.directions} == {
        ("triton", "bf16", 2)
    }
    assert found.directions[0].key.target.startswith("h")


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"dtype": "int8"}, attncc.ShapeError),
        ({"heads": 3, "kv_heads": 2}, attncc.ShapeError),
        ({"head_dim": 0}, attncc.ShapeError),
        ({"target": "h1000"}, attncc.ConfigError),
        ({"backend": "torhc"}, attncc.BackendError),
        ({"direction": "up"}, attncc.ConfigError),
    ],
)
def test_invalid_options_are_refused(options: dict[str, object], error: type[Exception]) -> None:
    with pytest.raises(error):
        attncc.explain_config(STRIDED, 1024, **options)
