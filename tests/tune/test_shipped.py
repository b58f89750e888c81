"""Shipped search spaces: each loads for each target, includes the default, and has a sensible size."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

import attncc
from attncc import backends, targets
from attncc.backends.inputs import Inputs
from attncc.planner.directions import DIRECTIONS
from attncc.tune import space_files
from attncc.tune.facts import facts
from attncc.tune.space import Space
from attncc.tune.tunables import backend_default, backend_tunables

ROOT = Path(__file__).parents[2]
SIZES = [(64, 64), (128, 128), (192, 128), (16, 16), (256, 256), (1, 1)]
GPUS = [name for name in targets.names() if targets.target(name).gpu]


def space_of(backend: str, direction: str, inputs: Inputs, target: str) -> Space:
    default = backend_default(backend, direction, inputs, targets.target(target))
    return space_files.load(backend_tunables(backend), direction).including(default)


def checked(found: Space, known: dict[str, object], backend: str) -> int:
    """Return the number of candidates, having checked the default, the seeds, and what the backend says to them."""
    kept = found.feasible(known)
    assert found.default in kept
    assert all(seed in kept for seed in found.seeded(known))
    for candidate in kept[:: 1 + len(kept) // 20]:
        backend_tunables(backend).check(candidate)
    return len(kept)


def test_each_backend_ships_both_directions() -> None:
    for backend in backends.tuned():
        found = [space_files.read(file, backend_tunables(backend)) for file in space_files.shipped(backend)]
        assert {family.direction for family in found} == set(DIRECTIONS)
        assert all(family.title for family in found)
        assert all(rule.why.endswith(".") for family in found for rule in family.constraints)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("target", GPUS)
def test_triton_spaces_are_valid_on_each_gpu(target: str, dtype: str, direction: str) -> None:
    for head_dim, value_dim in SIZES:
        inputs = Inputs(1, 8, 8, head_dim, value_dim, dtype)
        found = space_of("triton", direction, inputs, target)
        assert found.size <= 60_000
        for length in (1, 100, 4096):
            plan = attncc.plan(attncc.load("causal"), length, tile=(128, 64), target=target)
            count = checked(found, facts(plan, inputs, targets.target(target)), "triton")
            assert (64 if (head_dim, length) == (64, 4096) else 1) <= count <= 8000


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("causal", {}),
        ("strided", {"l": 128}),
        ("fixed", {"l": 128, "c": 8}),
        ("sliding_window", {"window": 256}),
        ("dilated_window", {"window": 256, "dilation": 4}),
    ],
)
def test_torch_spaces_are_valid_on_the_cpu(name: str, arguments: dict[str, int], direction: str) -> None:
    inputs = Inputs(1, 8, 8, 64, 64, "fp32")
    found = space_of("torch", direction, inputs, "cpu")
    for length in (0, 1, 5, 300, 16384):
        plan = attncc.plan(attncc.load(name, **arguments), length, tile=(64, 64))
        assert 1 <= checked(found, facts(plan, inputs, targets.target("cpu")), "torch") <= 700


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_swept_space_has_a_few_hundred_candidates(direction: str) -> None:
    inputs = Inputs(1, 8, 8, 64, 64, "fp32")
    plan = attncc.plan(attncc.load("strided", l=128), 16384, tile=(64, 64))
    found = space_of("torch", direction, inputs, "cpu")
    assert 150 <= checked(found, facts(plan, inputs, targets.target("cpu")), "torch") <= 700


def test_seeds_are_tried_where_they_matter() -> None:
    inputs = Inputs(1, 8, 8, 64, 64, "bf16")
    plan = attncc.plan(attncc.load("causal"), 4096, tile=(128, 64), target="h100")
    for direction in DIRECTIONS:
        found = space_of("triton", direction, inputs, "h100")
        assert len(found.seeded(facts(plan, inputs, targets.target("h100")))) >= 2  # one may be the default


def test_installed_wheels_find_the_shipped_files(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    [wheel] = tmp_path.glob("attncc-*.whl")
    ZipFile(wheel).extractall(tmp_path / "site")
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); from attncc.tune import space_files;"
        "kinds = 'distributed', 'torch', 'triton';"
        "print(*[file for kind in kinds for file in space_files.shipped(kind)], sep='\\n')"
    )
    command = [sys.executable, "-I", "-c", program, str(tmp_path / "site")]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    folder = tmp_path / "site" / "attncc" / "search_spaces"
    names = [f"{backend}/{direction}.toml" for backend in ("torch", "triton") for direction in sorted(DIRECTIONS)]
    assert found == [str(folder / name) for name in ("distributed/schedule.toml", *names)]


def test_checkouts_find_the_shipped_files() -> None:
    assert [str(file) for file in space_files.shipped("torch")] == [
        str(ROOT / "search_spaces" / "torch" / f"{direction}.toml") for direction in sorted(DIRECTIONS)
    ]
