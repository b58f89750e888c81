"""Keys: their equality, their distance, and invalid ones."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

import attncc
from attncc.backends.inputs import Inputs
from attncc.configs.key import Key, half_octaves
from attncc.errors import ConfigError, TableError
from attncc.frontend.language import Table
from attncc.planner.shape import Shape

SIZES = Inputs(2, 4, 2, 64, 64, "bf16")


def key_of(pattern: attncc.Pattern, q_len: int = 1000, kv_len: int | None = None, **changes: object) -> Key:
    shape = Shape(q_len, q_len if kv_len is None else kv_len)
    return replace(Key.of(pattern, "", shape, SIZES, "forward", "torch", "cpu"), **changes)


def documents(lengths: int, n: int = 4096) -> attncc.Pattern:
    return attncc.load("document", ids=Table(np.arange(n) // lengths, "ids")).causal()


def test_keys_of_patterns_without_tables_are_exact() -> None:
    pattern = attncc.load("strided", l=128)
    found = key_of(pattern)
    assert (found.pattern, found.density) == (pattern.key, None)
    assert found != key_of(attncc.load("strided", l=64))


def test_keys_distinguish_tables_by_density_only() -> None:
    assert documents(512).key != documents(500).key
    assert key_of(documents(512), 4096) == key_of(documents(500), 4096)
    assert key_of(documents(512), 4096).density == -4  # an eighth, and half of it causal
    assert key_of(documents(64), 4096).density == -7
    assert key_of(documents(64), 4096).distance(key_of(documents(512), 4096)) == 3


def test_keys_are_equal_in_every_process() -> None:
    program = (
        "import attncc, numpy as np\n"
        "from attncc.backends.inputs import Inputs\n"
        "from attncc.configs.key import Key\n"
        "from attncc.planner.shape import Shape\n"
        "p = attncc.load('document', ids=np.arange(4096) // 512).causal()\n"
        "print(Key.of(p, '', Shape(4096, 4096), Inputs(2, 4, 2, 64, 64, 'bf16'), 'forward', 'torch', 'cpu').digest)"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == key_of(documents(512), 4096).digest


def test_tables_that_do_not_fit_are_refused() -> None:
    with pytest.raises(TableError, match="ids"):
        key_of(documents(512, 4096), 5000)


def test_keys_round_lengths_to_half_octaves() -> None:
    pattern = attncc.load("causal")
    assert key_of(pattern, 1000) == key_of(pattern, 1024) == key_of(pattern, 1100)
    assert key_of(pattern, 1024) != key_of(pattern, 1536)
    assert [half_octaves(n) for n in (0, 1, 2, 3, 4096)] == [0, 0, 2, 3, 24]


@pytest.mark.parametrize(
    ("change", "octaves"),
    [
        ({}, 0),
        ({"q_len": 22}, 1),
        ({"q_len": 22, "kv_len": 24}, 2),
        ({"head_dim": 128}, 1),
        ({"head_dim": 128, "value_dim": 32}, 1),
        ({"heads": 8, "kv_heads": 4}, 0.25),
        ({"kv_heads": 4}, 0.25),
        ({"batch": 8, "q_len": 22}, 1.5),
        ({"direction": "backward"}, None),
        ({"dtype": "fp32"}, None),
        ({"target": "h100"}, None),
        ({"backend": "triton"}, None),
        ({"score": "ab" * 32}, None),
        ({"density": -3}, None),
    ],
)
def test_distances_are_in_octaves(change: dict[str, object], octaves: float | None) -> None:
    one = key_of(attncc.load("causal"))
    other = replace(one, **change)
    assert one.distance(other) == other.distance(one) == octaves
    assert set(one.differences(other)) == set(change)


def test_descriptions_round_trip() -> None:
    found = key_of(documents(512), 4096)
    assert Key.parse(found.describe()) == found
    assert len(found.digest) == 32


@pytest.mark.parametrize(
    "change",
    [
        {"pattern": "../../etc/passwd"},
        {"direction": "sideways"},
        {"backend": "a/b"},
        {"target": ".."},
        {"heads": 0},
        {"heads": True},
        {"batch": 2**70},
        {"q_len": -1},
        {"q_len": 3.5},
        {"density": 4},
        {"density": "x"},
        {"surplus": 1},
    ],
)
def test_invalid_fields_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        Key.parse(key_of(attncc.load("causal")).describe() | change)
