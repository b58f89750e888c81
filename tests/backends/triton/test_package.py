"""Packages: the loader agrees with the oracle, on the GPU or with the interpreter as the driver."""

from __future__ import annotations

import ctypes
import importlib.util
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

import attncc
from attncc.backends.device import here, target_name
from attncc.backends.inputs import Inputs
from attncc.backends.triton import BACKEND, aot, interpreter
from attncc.backends.triton.aot import Variant
from attncc.backends.triton.modules import kernel
from attncc.backends.triton.package import Package
from attncc.targets import gpu
from attncc.testing.oracle import Problem, dense

BATCH, HEADS, KV_HEADS, LENGTH, HEAD_DIM = 2, 2, 1, 113, 24
#: Small tiles compile fast.
CONFIG: dict[str, object] = {
    f"{kernel}.{name}": value
    for kernel in ("forward", "query_gradient", "key_gradient")
    for name, value in {"block_m": 16, "block_n": 16, "item_tiles": 2}.items()
}
SIZES = {"batch": BATCH, "heads": HEADS, "kv_heads": KV_HEADS, "head_dim": HEAD_DIM, "value_dim": HEAD_DIM}
INPUTS = Inputs(dtype="fp16", **SIZES)
HERE = here()
#: The package's target: the local GPU, or an absent one.
TARGET = "a100" if HERE.type == "cpu" else target_name(HERE)
with HERE:
    DRAWN = Problem.drawn(LENGTH, LENGTH, dtype=torch.float16, **SIZES)
PROBLEM = replace(DRAWN, grad_lse=torch.zeros_like(DRAWN.grad_lse))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Package]:
    """A package of a pattern with two passes, one of them gathered; items are cut short, so that tiles split."""
    plan = attncc.plan(attncc.load("strided", l=16), LENGTH, heads=HEADS, batch=BATCH, tile=BACKEND.tile, target=TARGET)
    lowered = aot.lower(plan, gpu(TARGET), INPUTS, config=CONFIG)
    made = Package.made(lowered, "fp16", TARGET, gpu(TARGET))
    folder = tmp_path_factory.mktemp("package")
    made.write(folder)
    return folder, made


def test_packages_replace_links_without_following_them(written: tuple[Path, Package], tmp_path: Path) -> None:
    mine, folder = tmp_path / "mine", tmp_path / "package"
    mine.write_bytes(b"mine")
    folder.mkdir()
    (folder / "manifest.json").symlink_to(mine)
    written[1].write(folder)
    assert mine.read_bytes() == b"mine"
    assert (folder / "manifest.json").read_bytes() == (written[0] / "manifest.json").read_bytes()


@attncc.score
def relative(score, j, n_k):
    """Reads the number of keys, which is an argument of its kernels."""
    return score + j / n_k


class Interpreter:
    """Stands for the driver: functions are kernels' names, and launches run in the interpreter on the CPU's memory."""

    def __init__(self, kernels: dict[str, Variant]) -> None:
        self.kernels = kernels
        self.entered: list[str] = []

    def function(self, binary: bytes, entry: str, shared: int) -> str:
        assert binary.startswith(b"\x7fELF")
        name = list(self.kernels)[len(self.entered)]
        self.entered.append(name)
        assert name.startswith(entry)
        return name

    def launch(self, function: str, programs: int, threads: int, shared: int, arguments: list[Any]) -> None:
        variant = self.kernels[function]
        types, constants = dict(variant.types), dict(variant.constants)
        assert len(arguments) == len(types) + 2
        values = dict(zip(types, arguments, strict=False))
        passed = (
            _unpacked(types[name], values[name]) if name in types else constants[name]
            for name in variant.spec.arguments
        )
        kernel(variant.spec)[(programs,)](*passed)


def _unpacked(kind: str, argument: Any) -> Any:
    """Return a number, or for an address a tensor there; the interpreter reads and writes what it points to."""
    if not kind.startswith("*"):
        return argument.value
    dtype = {"*fp16": torch.float16, "*fp32": torch.float32, "*i32": torch.int32, "*i64": torch.int64}[kind]
    memory = (ctypes.c_char * 8).from_address(argument.value)
    return torch.frombuffer(memory, dtype=dtype)


def loaded(folder: Path, made: Package) -> Any:
    """Return a folder's attention, with the GPU's driver or the interpreter in its place."""
    stand_in = Interpreter({name: variant for name, (variant, _) in made.kernels.items()})
    return loader(folder).AttentionKernels(folder, device=HERE.type, driver=stand_in if interpreter.is_on() else None)


def loader(folder: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("written_loader", folder / "loader.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_manifest_describes_each_launch(written: tuple[Path, Package]) -> None:
    folder, _ = written
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert {launch["role"] for launch in manifest["forward"]["launches"]} == {"whole", "split", "join"}
    for described in manifest["kernels"].values():
        assert (folder / described["file"]).is_file()
        assert described["threads"] == 32 * described["num_warps"]
        assert described["scratch_arguments"] == 2
    phases = [manifest["forward"], manifest["delta"], *manifest["backward"]]
    used = {launch["kernel"] for phase in phases for launch in phase["launches"]}
    assert used == manifest["kernels"].keys()
    assert manifest["target"] == {"name": TARGET, "backend": "cuda", "arch": gpu(TARGET).arch, "warp_size": 32}
    assert len(manifest["sets"]) == 2


def test_the_loader_needs_neither_attncc_nor_triton(written: tuple[Path, Package]) -> None:
    text = (written[0] / "loader.py").read_text(encoding="utf-8")
    imports = [line for line in text.splitlines() if line.startswith(("import ", "from "))]
    assert not any("attncc" in line or "triton" in line for line in imports)


def test_the_loader_agrees_with_the_oracle(written: tuple[Path, Package]) -> None:
    folder, made = written
    attention = loaded(folder, made)
    out, lse = attention.forward(PROBLEM.query, PROBLEM.key, PROBLEM.value)
    gradients = attention.backward(PROBLEM.grad_out, PROBLEM.query, PROBLEM.key, PROBLEM.value, out, lse)
    pattern = made.lowered.plan.pattern
    oracle = dense(PROBLEM.to(torch.float64), attncc.dense_mask(pattern, LENGTH, device=HERE))
    for (name, expected), found in zip(oracle.items(), (out, lse, *gradients), strict=True):
        torch.testing.assert_close(found.double(), expected, rtol=1e-2, atol=1e-2, msg=lambda m, n=name: f"{n}: {m}")


def refused(folder: Path, made: Package) -> str:
    """Return why a folder isn't loaded; the driver receives nothing of it."""
    stand_in = Interpreter({name: variant for name, (variant, _) in made.kernels.items()})
    module = loader(folder)
    with pytest.raises(module.PackageError) as error:
        module.AttentionKernels(folder, device="cpu", driver=stand_in)
    assert not stand_in.entered
    return str(error.value)


@pytest.fixture
def copied(written: tuple[Path, Package], tmp_path: Path) -> tuple[Path, Package]:
    """A copy of the package, to be damaged."""
    return Path(shutil.copytree(written[0], tmp_path / "package")), written[1]


@pytest.mark.parametrize("name", ["manifest.json", "arrays.bin", "forward_0.cubin"])
def test_damaged_packages_are_refused(copied: tuple[Path, Package], name: str) -> None:
    folder, made = copied
    path = folder / name
    sound = path.read_bytes()
    middle = len(sound) // 2
    flipped = sound[:middle] + bytes([sound[middle] ^ 1]) + sound[middle + 1 :]
    for content in (flipped, sound[:-2], sound + b"x", sound * 2, b""):
        path.write_bytes(content)
        assert f"{name} is damaged" in refused(folder, made)
    path.unlink()
    assert "can't be read: No such file" in refused(folder, made)
    os.mkfifo(path)
    assert "isn't a regular file" in refused(folder, made)
    path.unlink()
    path.symlink_to(folder.parent / name)
    (folder.parent / name).write_bytes(sound)
    assert "is a link" in refused(folder, made)
    path.unlink()
    path.write_bytes(sound)
    loader(folder).AttentionKernels(
        folder, device="cpu", driver=Interpreter({n: v for n, (v, _) in made.kernels.items()})
    )


@pytest.mark.parametrize("name", ["{}/forward_0.cubin", "../outside.cubin", "sub/forward_0.cubin", "..", "none.cubin"])
def test_files_outside_a_package_are_refused(copied: tuple[Path, Package], name: str) -> None:
    folder, made = copied
    name = name.format(folder)
    (folder / "sub").mkdir()
    for place in ("../outside.cubin", "sub/forward_0.cubin"):
        shutil.copy(folder / "forward_0.cubin", folder / place)
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    kernel = next(each for each in manifest["kernels"].values() if each["file"] == "forward_0.cubin")
    kernel["file"] = name
    if name != "none.cubin":
        manifest["files"][name] = manifest["files"]["forward_0.cubin"]
    del manifest["checksum"]
    manifest["checksum"] = loader(folder).checksum(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    assert ("Is a directory" if name == ".." else "isn't a file of the package") in refused(folder, made)


def test_the_loader_passes_weights_to_a_score(tmp_path: Path) -> None:
    slopes, pattern = torch.tensor([0.5, 0.25]), attncc.load("causal")
    score = attncc.alibi(slopes=slopes).then(relative())
    plan = attncc.plan(pattern, LENGTH, heads=HEADS, batch=BATCH, tile=BACKEND.tile, target=TARGET)
    lowered = aot.lower(plan, gpu(TARGET), INPUTS, config=CONFIG, score=score.expression)
    made = Package.made(lowered, "fp16", TARGET, gpu(TARGET))
    made.write(tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["weights"] == [{"name": "slopes", "argument": "weights_0", "dtype": "fp32", "shape": [HEADS]}]
    attention = loaded(tmp_path, made)
    leaves = (PROBLEM.query, PROBLEM.key, PROBLEM.value)
    out, lse, remainder = attention.forward(*leaves, weights={"slopes": slopes})
    saved = (*leaves, out, lse)
    gradients = attention.backward(PROBLEM.grad_out, *saved, remainder=remainder, weights={"slopes": slopes})
    with pytest.raises(ValueError, match="remainder is missing"):
        attention.backward(PROBLEM.grad_out, *saved, weights={"slopes": slopes})
    exact = [x.double().requires_grad_() for x in leaves]
    wanted = attncc.attention(*exact, pattern, score=score, enable_gqa=True, backend="reference")
    expected = torch.autograd.grad(wanted, exact, PROBLEM.grad_out.double())
    for found, exact_one in zip((out, *gradients), (wanted, *expected), strict=True):
        torch.testing.assert_close(found.double(), exact_one, rtol=1e-2, atol=1e-2)
    for weights in ({}, {"slopes": slopes[:1]}, {"slope": slopes}):
        with pytest.raises(ValueError, match="slopes"):
            attention.forward(*leaves, weights=weights)


@attncc.score
def flooded(score, i, *, floor: attncc.Weights):
    """Every third row has the same score for all keys."""
    return attncc.where(i % 3 == 0, floor[0], score)


@attncc.score
def tabled(i, *, table: attncc.Weights):
    """An additive mask of whole rows."""
    return table[i]


@pytest.fixture(scope="module")
def flooding(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, bool], tuple[Any, Any, Any]]:
    """Makes a loaded package of a pattern under one of these scores, its pattern and score; each is compiled once."""

    @cache
    def made(name: str, added: bool) -> tuple[Any, Any, Any]:
        pattern = attncc.load(name, **({"l": 16} if name == "strided" else {}))
        score = tabled(table=_table(0.0)) if added else flooded(floor=torch.zeros(1))
        plan = attncc.plan(pattern, LENGTH, heads=HEADS, batch=BATCH, tile=BACKEND.tile, target=TARGET)
        lowered = aot.lower(plan, gpu(TARGET), INPUTS, config=CONFIG, score=score.expression)
        package, folder = Package.made(lowered, "fp16", TARGET, gpu(TARGET)), tmp_path_factory.mktemp("flooded")
        package.write(folder)
        return loaded(folder, package), pattern, score

    return made


def _table(large: float) -> torch.Tensor:
    return torch.where(torch.arange(LENGTH) % 3 == 0, large, 0.0)


@pytest.mark.parametrize("large", [-1e9, torch.finfo(torch.float32).min])
@pytest.mark.parametrize("added", [False, True])
@pytest.mark.parametrize("name", ["causal", "strided"])
def test_the_loader_averages_the_values_of_rows_of_equal_large_scores(
    flooding: Callable[[str, bool], tuple[Any, attncc.Pattern, attncc.Score]], name: str, added: bool, large: float
) -> None:
    attention, pattern, template = flooding(name, added)
    weights = {"table": _table(large)} if added else {"floor": torch.tensor([large])}
    leaves = (PROBLEM.query, PROBLEM.key, PROBLEM.value)
    out, lse, remainder = attention.forward(*leaves, weights=weights)
    gradients = attention.backward(PROBLEM.grad_out, *leaves, out, lse, remainder=remainder, weights=weights)
    mask = attncc.dense_mask(pattern, LENGTH, device=HERE)
    rows, seen = torch.arange(LENGTH) % 3 == 0, mask.double()
    means = (seen / seen.sum(-1, keepdim=True)) @ PROBLEM.value.double()
    torch.testing.assert_close(out[:, :, rows].double(), means.expand_as(out)[:, :, rows], rtol=1e-3, atol=1e-3)
    assert torch.equal(lse[:, :, rows], torch.full_like(lse, large)[:, :, rows])
    counted = seen.sum(-1).log().expand_as(lse)
    torch.testing.assert_close(remainder[:, :, rows].double(), counted[:, :, rows], rtol=1e-4, atol=1e-4)
    if added:  # in float64 the sum keeps the products, which float32 has rounded off
        return
    exact = [x.double().requires_grad_() for x in leaves]
    score = template.with_weights(**weights)
    wanted = attncc.attention(*exact, pattern, score=score, enable_gqa=True, backend="reference")
    expected = torch.autograd.grad(wanted, exact, PROBLEM.grad_out.double())
    for found, exact_one in zip((out, *gradients), (wanted, *expected), strict=True):
        torch.testing.assert_close(found.double(), exact_one, rtol=1e-2, atol=1e-2)


def test_the_loader_refuses_tensors_of_other_shapes_and_dtypes(written: tuple[Path, Package]) -> None:
    folder, made = written
    attention = loaded(folder, made)
    query, key, value = PROBLEM.query, PROBLEM.key, PROBLEM.value
    with pytest.raises(ValueError, match=r"query is \(2, 2, 112, 24\)"):
        attention.forward(query[:, :, 1:], key, value)
    with pytest.raises(ValueError, match="key is"):
        attention.forward(query, key.float(), value)
