"""Compiler processes: the cost of a crash, a hang or an error, and their end."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from attncc.errors import ConfigError
from attncc.machine_code import store
from attncc.machine_code.compiled import Compiled
from attncc.machine_code.source import Source
from attncc.targets import gpu
from attncc.tune.modelled import Compilers

A100 = gpu("a100")
KERNEL = """
import triton
import triton.language as tl

@triton.jit
def scaled(x, out, size, SCALE: tl.constexpr, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + at, tl.load(x + at, mask=at < size) * SCALE, mask=at < size)
"""
BROKEN = {
    "aborts": "import os\nos.abort()\n",
    "faults": "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n",
    "leaves": "raise SystemExit(3)\n",
    "raises": "raise RuntimeError('no\\nsuch luck')\n",
    "hangs": "import pathlib, os, time\npathlib.Path(__file__).with_suffix('.pid').write_text(str(os.getpid()))\n"
    "time.sleep(600)\n",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ATTNCC_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path


def source(folder: Path, name: str, text: str = KERNEL, scale: int = 2) -> Source:
    types = (("x", "*fp32"), ("out", "*fp32"), ("size", "i32"))
    constants = (("SCALE", scale), ("BLOCK", 256))
    return Source(text, folder / f"{name}.py", "scaled", types, constants, frozenset({"x", "out"}), 2, 1)


@pytest.fixture
def compilers() -> Iterator[Compilers]:
    with Compilers(A100, 1, 60.0) as found:
        yield found


def test_broken_sources_do_not_affect_others(folder: Path, compilers: Compilers) -> None:
    sound, *broken = (source(folder, name, text) for name, text in {"sound": KERNEL, **BROKEN}.items())
    hung = broken.pop()
    found = compilers.compile([*broken, sound, sound])
    assert list(found) == [*broken, sound]
    compiled = found[sound]
    assert isinstance(compiled, Compiled)
    assert compiled.resources.warps == 2
    assert store.load(store.path_of(sound, A100)) is not None
    assert [found[each] for each in broken] == [
        "the compiler crashed (SIGABRT)",
        "the compiler crashed (SIGSEGV)",
        "the compiler crashed (exit status 3)",
        "RuntimeError: no such luck",
    ]

    compilers.limit_seconds = 1.0
    assert compilers.compile([hung]) == {hung: "the compiler took more than 1 s"}
    assert not _runs(hung)


def test_cached_kernels_need_no_process(folder: Path) -> None:
    known = source(folder, "known")
    kept = Compiled("scaled", "cuda", {"cubin": b"", "ptx": ""}, 0, 2, 0)
    store.save(store.path_of(known, A100), kept)
    with Compilers(A100, 2, 60.0) as compilers:
        assert compilers.compile([known]) == {known: kept}
        assert all(worker.pipe is None for worker in compilers._workers)


def test_no_process_outlives_the_block(folder: Path) -> None:
    one, two = source(folder, "quick"), source(folder, "quick", scale=3)
    hung = source(folder, "hangs", BROKEN["hangs"])
    with Compilers(A100, 2, 60.0) as compilers:
        assert all(isinstance(each, Compiled) for each in compilers.compile([one, two]).values())
        compilers.limit_seconds = 1.0
        assert compilers.compile([hung]) == {hung: "the compiler took more than 1 s"}
    assert all(worker.pipe is None for worker in compilers._workers)
    assert not _runs(hung)


SCRIPT = """
import sys
from pathlib import Path
from attncc.machine_code.source import Source
from attncc.targets import gpu
from attncc.tune.modelled import Compilers

if __name__ == "__main__":
    with Compilers(gpu("a100"), 1, 60.0) as compilers:
        path = Path(sys.argv[1])
        compilers.compile([Source(path.read_text(), path, "scaled", (), (), frozenset(), 2, 1)])
"""


def test_processes_end_with_their_parent(folder: Path) -> None:
    hung = source(folder, "hangs", BROKEN["hangs"])
    hung.path.write_text(hung.text)
    script = folder / "script.py"
    script.write_text(SCRIPT)
    parent = subprocess.Popen([sys.executable, script, hung.path])
    _until(lambda: _runs(hung))
    parent.kill()
    parent.wait()
    _until(lambda: not _runs(hung))


@pytest.mark.parametrize(("workers", "seconds"), [(0, 1.0), (1, 0.0)])
def test_workers_and_time_must_be_positive(workers: int, seconds: float) -> None:
    with pytest.raises(ConfigError, match="more than 0"):
        Compilers(A100, workers, seconds)


def _until(holds) -> None:
    deadline = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _runs(hanging: Source) -> bool:
    """Whether the process runs that a source has noted, as it does first of all; a zombie doesn't."""
    note = hanging.path.with_suffix(".pid")
    try:
        return Path(f"/proc/{int(note.read_text())}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (OSError, ValueError):  # it has yet to write the note, or ends while it is read
        return False
