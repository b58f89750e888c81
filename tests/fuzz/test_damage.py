"""Damaged files of every kind give an attncc error or warning, or right results.

pytest tests/fuzz/test_damage.py --flips 4000                   # of each kind; sixteen without the option
pytest tests/fuzz/test_damage.py --flips 4000 --shard 3/8       # every eighth of them, from the third on
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
import optuna
import pytest
import torch
from damage import cases, put

import attncc
from attncc._util import locking, storage
from attncc.backends.inputs import Inputs
from attncc.backends.triton import BACKEND, aot, modules
from attncc.backends.triton.package import Package
from attncc.backends.triton.spec import Spec
from attncc.configs import bundle, maintenance
from attncc.configs.entry import Entry, about
from attncc.configs.environment import Environment
from attncc.configs.store import Store, user_store
from attncc.distributed.topology import Topology
from attncc.errors import AttnccError, AttnccWarning
from attncc.frontend.catalog import factory, parse_parameters
from attncc.machine_code import store as kernels
from attncc.machine_code.compiled import Compiled
from attncc.runtime.explain import explain_config
from attncc.targets import gpu, target
from attncc.tune import space_files
from attncc.tune import trial_log as log_of_trials
from attncc.tune.evaluation import Outcome, best, fastest, reasons
from attncc.tune.facts import facts
from attncc.tune.study import Study
from attncc.tune.tunables import backend_default, backend_tunables

CAUSAL = attncc.load("causal")
LENGTH = 64
CPU = target("cpu")


@dataclass(frozen=True)
class Specimen:
    """A file, and a use of it that asserts what comes out; `errors` is what it may raise besides."""

    path: Path
    use: Callable[[], object]
    errors: tuple[type[Exception], ...] = ()


def archive(folder: Path) -> Specimen:
    """A compiled kernel: it is loaded unchanged, or not at all."""
    draw = random.Random(0)
    text = "".join(f"\tmov.u32 %r{draw.randrange(200)}, {draw.randrange(1000)};\n" for _ in range(400))
    kept = Compiled("forward", "cuda", {"ptx": text, "cubin": draw.randbytes(4096), "sass": text}, 49152, 4, 0)
    path = storage.cache_folder("compiled") / "forward_sm_80.kernel"
    kernels.save(path, kept)

    def use() -> None:
        assert kernels.load(path) in (None, kept)

    return Specimen(path, use)


def source(folder: Path) -> Specimen:
    """A generated module: it is written again, and the generated text runs."""
    spec = Spec("forward", start="slanted", stop="slanted")
    path = modules.path_of(spec)

    def use() -> None:
        found = modules.loaded(spec)
        assert path.read_text("utf-8") == modules.render(spec)
        assert "".join(inspect.getsourcelines(found.fn)[0]) in modules.render(spec)

    return Specimen(path, use)


def entry() -> Entry:
    """An entry that `attention` finds for the causal pattern."""
    running = {"heads": 2, "head_dim": 16, "backend": "torch", "target": "cpu", "direction": "forward"}
    [found] = explain_config(CAUSAL, LENGTH, **running).directions
    times = {"best": 0.001, "default": 0.002}
    config = {"forward.query_tile": 32, "forward.chunk": 64, "forward.plan": "cheapest"}
    environment = Environment.of("torch", "cpu")
    return Entry(found.key, environment, config, "measured", times, about=about(CAUSAL, LENGTH, LENGTH))


def winner(folder: Path) -> Specimen:
    """A tuned entry: attention is right, and maintenance finds a file that lookups ignore."""
    made, store = entry(), user_store()
    store.save(made)
    query, key, value = torch.randn(3, 1, 2, LENGTH, 16, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)

    def use() -> None:
        found = attncc.attention(query, key, value, CAUSAL, backend="torch")
        torch.testing.assert_close(found, expected)
        assert len(list(store.entries())) + len(list(maintenance.damaged(store))) == 1

    return Specimen(store.path(made.environment, made.key), use)


def environment(folder: Path) -> Specimen:
    """The description of an environment's folder: it is written again with the next entry."""
    made, store = entry(), user_store()
    store.save(made)

    def use() -> None:
        store.described(store.folder(made.environment))
        maintenance.outdated(store)
        assert store.save(made)
        assert store.described(store.folder(made.environment)) == made.environment

    return Specimen(store.folder(made.environment) / "environment.json", use)


def exported(folder: Path) -> Specimen:
    """A bundle: its entries are imported, and each can be read again."""
    path = folder / "tuned.json"
    bundle.save([entry()], path)

    def use() -> None:
        store = Store(folder / "imported")
        found = bundle.load(path, store)
        assert all(store.load(each.environment, each.key) == each for each in found.written)
        assert not list(maintenance.damaged(store))

    return Specimen(path, use)


COUNTS = {"forward.plan": 2, "forward.query_tile": 4}


@contextmanager
def study(log: Path, url: str | None = None) -> Iterator[Study]:
    with log_of_trials.storage(log, url) as kept:
        yield Study.of(kept, "study", COUNTS, 0)


def tried(log: Path, url: str | None = None) -> None:
    """Make a study with some trials."""
    with study(log, url) as found:
        _try_some(found)


def _try_some(found: Study) -> None:
    for number in range(6):
        running = found.begin((number % 2, number % 4))
        seconds = None if number == 3 else 0.001 * (1 + number)
        reason = "it took too long" if seconds is None else ""
        found.tell(running, Outcome(seconds, (seconds,) if seconds else (), reason, ({"registers": 32},)))
    found.refuse(found.ask())


def continued(log: Path, url: str | None = None) -> None:
    """Go on with a study as the tuner does."""
    with study(log, url) as found:
        _go_on(found)


def _go_on(found: Study) -> None:
    known = found.finished()
    for point, outcome in known.items():
        assert all(0 <= index < count for index, count in zip(point, COUNTS.values(), strict=True))
        assert outcome.seconds is None or 0 <= outcome.seconds < float("inf")
        assert all(isinstance(sample, float) for sample in outcome.samples)
    best(known)
    fastest(known, 2)
    reasons(list(known.values()))
    found.elsewhere()
    running = found.ask()
    found.tell(running, Outcome(0.5, (0.5,)))
    assert found.finished()[running.point].samples


def trial_log(folder: Path) -> Specimen:
    """The log of a search's trials: the search resumes from readable trials, or restarts."""
    path = folder / "trials.jsonl"
    tried(path)

    def use() -> None:
        path.with_suffix(".damaged").unlink(missing_ok=True)
        continued(path)

    return Specimen(path, use)


def database(folder: Path) -> Specimen:
    """A database of trials, which a user named."""
    path = folder / "trials.db"
    url = f"sqlite:///{path}"
    tried(path, url)
    return Specimen(path, lambda: continued(path, url))


def holder(folder: Path) -> Specimen:
    """The description of a process that holds a lock."""
    path = folder / "x.holder"
    path.write_text(json.dumps(locking._self()))

    def use() -> None:
        assert locking._described(path).isprintable()

    return Specimen(path, use)


def topology(folder: Path) -> Specimen:
    """A description of a machine."""
    path = folder / "machine.toml"
    path.write_bytes(Path(attncc.__file__).parent.joinpath("distributed/topology/shipped/4xrtx4090.toml").read_bytes())
    return Specimen(path, lambda: Topology.load(path).digest)


def space(folder: Path) -> Specimen:
    """A search space, which a user adds to the shipped one."""
    path = folder / "space.toml"
    path.write_text(
        'title = "narrow"\ndirection = "forward"\n[parameters]\n"forward.query_tile" = [16, 32, 64]\n'
        '[[constraints]]\nrule = "forward.query_tile <= 2 * q_len and (heads > 1 or head_dim % 16 == 0)"\n'
        'why = "Tiles are no longer than the sequence."\n[[seeds]]\n"forward.query_tile" = 32\n'
    )
    inputs = Inputs(1, 2, 2, 16, 16, "fp32")
    known = facts(attncc.plan(CAUSAL, LENGTH), inputs, CPU)
    default = backend_default("torch", "forward", inputs, CPU)

    def use() -> None:
        found = space_files.load(backend_tunables("torch"), "forward", path).including(default)
        assert default in found.feasible(known)
        assert all(found.contains(candidate) for candidate in found.seeded(known))

    return Specimen(path, use)


def table(folder: Path) -> Specimen:
    """A table of a pattern, saved by numpy."""
    path = folder / "ids.npy"
    np.save(path, np.arange(LENGTH) // 16)
    document = factory("document")

    def use() -> None:
        pattern = document(**parse_parameters(document, [f"ids=@{path}"]))
        attncc.dense_mask(pattern, LENGTH)

    return Specimen(path, use)


class RecordingDriver:
    """A driver-in for the driver that records its arguments."""

    def __init__(self) -> None:
        self.given: list[tuple[bytes, str, int]] = []

    def function(self, *given: object) -> None:
        self.given.append(given)


@cache
def compiled() -> Package:
    """A package of the forward of a pattern in two passes."""
    inputs = Inputs(1, 2, 2, 16, 16, "fp16")
    plan = attncc.plan(attncc.load("strided", l=16), LENGTH, heads=2, tile=BACKEND.tile, target="a100")
    small = {"forward.block_m": 16, "forward.block_n": 16}
    program = aot.lower(plan, gpu("a100"), inputs, config=small)
    return Package.made(program, "fp16", "a100", gpu("a100"), backward=False)


def package(folder: Path, name: str) -> Specimen:
    """A file of a package: it is loaded unchanged, or the driver receives nothing."""
    compiled().write(folder / "package")
    loader = _module(folder / "package" / "loader.py")

    def load() -> tuple[object, ...]:
        driver = RecordingDriver()
        try:
            found = loader.Attention(folder / "package", "cpu", driver)
        except loader.PackageError:
            assert not driver.given
            raise
        return found.manifest, {key: array.tolist() for key, array in found._arrays.items()}, driver.given

    sound = load()

    def use() -> None:
        assert load() == sound

    return Specimen(folder / "package" / name, use, (loader.PackageError,))


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("loader_of_a_package", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


KINDS: dict[str, Callable[[Path], Specimen]] = {
    kind.__name__: kind
    for kind in (
        archive, source, winner, environment, exported, trial_log, database, holder, topology, space, table,
    )
}  # fmt: skip
KINDS |= {
    name: lambda folder, name=name: package(folder, name) for name in ("manifest.json", "arrays.bin", "forward_0.cubin")
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("ATTNCC_CACHE_DIR", str(tmp_path / "cache"))
    before = optuna.logging.get_verbosity()
    yield tmp_path
    optuna.logging.set_verbosity(before)


#: A database takes half a second to open.
SLOW = pytest.param("database", marks=pytest.mark.slow)


@pytest.mark.parametrize("kind", [SLOW if kind == "database" else kind for kind in KINDS])
def test_damaged_files_give_an_attncc_error_or_right_results(
    kind: str, folder: Path, flips: int, shard: tuple[int, int]
) -> None:
    specimen = KINDS[kind](folder)
    sound = specimen.path.read_bytes()
    failed = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AttnccWarning)
        for done, content in cases(sound, flips, shard):
            put(specimen.path, content)
            try:
                specimen.use()
            except (AttnccError, *specimen.errors):
                pass
            except Exception as error:
                failed.append(f"{done}: {type(error).__name__}: {str(error)[:200]}")
    assert not failed, f"{len(failed)} of {kind}:\n" + "\n".join(failed[:10])
    put(specimen.path, sound)
    specimen.use()
