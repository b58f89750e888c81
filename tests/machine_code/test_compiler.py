"""Compiling for absent GPUs: results, the cache, and errors."""

from __future__ import annotations

import os
import random
from dataclasses import replace
from pathlib import Path

import pytest

from attncc._util.storage import CacheWarning
from attncc.errors import BackendError
from attncc.machine_code import store, tools
from attncc.machine_code.compiler import compile, compile_all
from attncc.machine_code.instructions import OpKind
from attncc.machine_code.source import Source
from attncc.targets import gpu

KERNEL = """
import triton
import triton.language as tl

@triton.jit
def scaled(x, out, size, SCALE: tl.constexpr, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + at, tl.exp2(tl.load(x + at, mask=at < size)) * SCALE, mask=at < size)
"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def source(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    monkeypatch.setenv("ATTNCC_CACHE_DIR", str(cache))
    return Source(
        KERNEL,
        cache / "scaled.py",
        "scaled",
        types=(("x", "*fp32"), ("out", "*fp32"), ("size", "i32")),
        constants=(("SCALE", 2), ("BLOCK", 256)),
        aligned=frozenset({"x", "out"}),
        num_warps=2,
        num_stages=1,
    )


@pytest.mark.parametrize("target", ["a100", "mi300x"])
def test_compiled_kernels_report_resources_and_instructions(source: Source, target: str) -> None:
    (found,) = compile_all([source], gpu(target), workers=1)
    assert found.name == "scaled"
    assert found.resources.warps == 2
    assert found.resources.stack == found.resources.spills == 0
    assert 0 < found.resources.registers < 64
    assert any(i.kind is OpKind.SPECIAL for i in found.instructions)
    assert found.parameters == 3 + 2  # and triton's two pointers to scratch memory
    assert store.load(store.path_of(source, gpu(target))) == found


def test_the_cache_serves_kernels_and_recovers_from_damage(source: Source) -> None:
    (found,) = compile_all([source], gpu("a100"), workers=1)
    path = store.path_of(source, gpu("a100"))
    assert compile(source, gpu("a100")) == found  # though this process interprets kernels
    path.write_bytes(path.read_bytes()[:500])
    with pytest.warns(CacheWarning, match="compiled again"):
        assert store.load(path) is None
    store.save(path, found)
    assert store.load(path) == found


def test_archives_with_a_wrong_hash_are_not_parsed(source: Source) -> None:
    (found,) = compile_all([source], gpu("a100"), workers=1)
    path = store.path_of(source, gpu("a100"))
    sound = path.read_bytes()
    draw = random.Random(0)
    for _ in range(300):
        path.write_bytes(_flipped(sound, draw))
        with pytest.warns(CacheWarning, match=r"was damaged\. Its kernel is compiled again"):
            assert store.load(path) is None
    path.write_bytes(sound)
    assert store.load(path) == found


def test_huge_and_irregular_archives_are_ignored(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    (found,) = compile_all([source], gpu("a100"), workers=1)
    path = store.path_of(source, gpu("a100"))
    sound = path.read_bytes()
    with monkeypatch.context() as limited:
        limited.setattr(store, "LARGEST", len(sound) - 1)
        with pytest.warns(CacheWarning, match="bytes"):
            assert store.load(path) is None
    path.unlink()
    os.mkfifo(path)
    with pytest.warns(CacheWarning, match="a regular file"):
        assert store.load(path) is None
    store.save(path, found)
    assert path.read_bytes() == sound


def test_archives_of_another_kernel_are_ignored(source: Source) -> None:
    (found,) = compile_all([source], gpu("a100"), workers=1)
    path = store.path_of(source, gpu("a100"))
    other = store.path_of(replace(source, num_warps=1), gpu("a100"))
    other.write_bytes(path.read_bytes())
    with pytest.warns(CacheWarning, match=f"{other.stem} holds {path.stem}"):
        assert store.load(other) is None
    assert store.load(path) == found


def test_archives_writable_by_others_are_ignored(source: Source) -> None:
    (found,) = compile_all([source], gpu("a100"), workers=1)
    path = store.path_of(source, gpu("a100"))
    path.chmod(0o666)
    with pytest.warns(CacheWarning, match="its mode is 0666"):
        assert store.load(path) is None
    store.save(path, found)
    assert store.load(path) == found


def _flipped(content: bytes, draw: random.Random) -> bytes:
    at = draw.randrange(len(content))
    return content[:at] + bytes([content[at] ^ draw.randrange(1, 256)]) + content[at + 1 :]


def test_an_unwritable_cache_warns(source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (found,) = compile_all([source], gpu("a100"), workers=1)
    (tmp_path / "compiled").write_text("no folder")
    monkeypatch.setenv("ATTNCC_CACHE_DIR", str(tmp_path))
    with pytest.warns(CacheWarning, match="not remembered"):
        store.save(store.path_of(source, gpu("a100")), found)


def test_disassembly_is_cached(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    compile_all([source], gpu("a100"), workers=1)
    kept = store.load(store.path_of(source, gpu("a100")))
    monkeypatch.delattr(tools, "cuobjdump")
    assert kept is not None
    assert "EXIT" in kept.listing


def test_keys_depend_on_everything_that_determines_the_code(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    def key(changed: Source, target: str = "a100") -> Path:
        return store.path_of(changed, gpu(target))

    known = {key(source), key(source, "h100"), key(replace(source, num_warps=4))}
    known |= {key(replace(source, constants=(("SCALE", 3), ("BLOCK", 256)))), key(replace(source, aligned=frozenset()))}
    monkeypatch.setenv("TRITON_PTXAS_PATH", "/elsewhere/ptxas")
    known.add(key(source))
    known.add(key(replace(source, text=KERNEL + "\n")))
    assert len(known) == 7


def test_compiler_errors_become_messages(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = replace(source, constants=(("SCALE", 2), ("BLOCK", 100)))
    with pytest.raises(BackendError, match="triton could not compile scaled for sm_80") as refused:
        compile_all([broken], gpu("a100"), workers=1)
    assert "must be a power of 2" in refused.value.problem
    assert "Try other blocks" not in refused.value.fix  # of the source, not of what a configuration takes
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    with pytest.raises(BackendError, match="Unset it to compile"):
        compile(replace(source, num_warps=8), gpu("a100"))


def test_missing_tools_are_named(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Path:
        raise BackendError(f"{name} was not found.")

    monkeypatch.setattr(tools, "path", missing)
    for name, target in (("ptxas", "h100"), ("ptxas-blackwell", "b200")):
        with pytest.raises(BackendError, match=f"^{name} was not found"):
            compile(replace(source, num_warps=8), gpu(target))
    monkeypatch.undo()
    with pytest.raises(BackendError, match="nosuchtool was not found in"):
        tools.path("nosuchtool")
    with pytest.raises(BackendError, match="cuobjdump failed"):
        tools.cuobjdump(b"no cubin", "-sass")
