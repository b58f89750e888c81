"""Backends are found through entry points: a third party's as attncc's own, each imported when it is asked for."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import torch

import attncc
from attncc import backends, targets
from attncc._util.entry_points import DISABLED, PluginWarning
from attncc.backends.base import ANY_DEVICE, Backend
from attncc.backends.inputs import Inputs
from attncc.errors import BackendError

Install = Callable[..., None]
READS = """
import importlib.metadata, sys
read = importlib.metadata.entry_points
groups = []
importlib.metadata.entry_points = lambda **named: groups.append(named["group"]) or read(**named)
import attncc, torch
attncc.attention
first = groups.count("attncc.backends")
pattern = attncc.load("causal")
q = torch.randn(1, 1, 8, 4)
for backend in (None, "torch", "reference"):
    attncc.attention(q, q, q, pattern, backend=backend)
once = groups.count("attncc.backends")
attncc.attention(q, q, q, pattern)
print(first, once, groups.count("attncc.backends"))
"""


class Dense(Backend):
    """Runs nothing."""

    name = "dense"

    def __init__(self, *device_types: str, reason: str | None = None) -> None:
        self.device_types, self.reason = device_types, reason

    def unavailable(self) -> str | None:
        return self.reason

    def lower(self, *_: object) -> None:
        raise NotImplementedError


def test_entry_points_are_read_once_by_the_first_call() -> None:
    found = subprocess.run([sys.executable, "-c", READS], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["0", "1", "1"]


def test_finding_backends_imports_no_tensor_library() -> None:
    program = "import sys; from attncc import backends; backends.tuned(); print({'torch', 'triton'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"


def test_the_shipped_ones_are_entry_points_of_attncc() -> None:
    shipped = {
        entry.name for entry in entry_points(group="attncc.backends") if entry.dist and entry.dist.name == "attncc"
    }
    assert shipped == {"reference", "torch", "triton"} == set(backends.names())


@pytest.mark.parametrize("name", ["torch", "triton"])
def test_sources_of_each_tunable_backend_exist(name: str) -> None:
    sources, package = backends.sources(name), Path(attncc.__file__).parent
    assert f"backends/{name}" in sources
    assert all((package / source).exists() for source in sources)


def test_sources_of_a_third_party_are_its_module(install_backends: Install) -> None:
    install_backends(Dense())
    assert str(Path(__file__)) in backends.sources("dense")


def test_a_third_party_goes_before_attnccs_own_on_the_devices_that_it_prefers(install_backends: Install) -> None:
    install_backends(Dense("cpu"))
    assert backends.preferred(torch.device("cpu")) == ["dense", "torch"]
    assert backends.preferred_for(targets.target("cpu")) == "dense"
    assert backends.preferred_for(targets.target("h100")) == "triton"


@pytest.mark.parametrize("backend", [Dense(), Dense("cuda"), Dense("cpu", reason="no")], ids=["none", "other", "off"])
def test_a_backend_that_can_not_or_does_not_want_to_run_is_not_preferred(
    install_backends: Install, backend: Backend
) -> None:
    install_backends(backend)
    assert backends.preferred(torch.device("cpu")) == ["torch"]


def test_one_for_any_device_comes_last(install_backends: Install) -> None:
    install_backends(Dense(ANY_DEVICE))
    assert backends.preferred_for(targets.target("h100")) == "triton"
    assert backends.preferred_for(targets.target("cpu")) == "dense"


@pytest.mark.parametrize(("backend", "problem"), [(42, "names a int"), (Dense, "names a ABCMeta")])
def test_a_broken_one_takes_nothing_down(install_backends: Install, backend: object, problem: str) -> None:
    install_backends(backend)
    name = getattr(backend, "name", "broken")
    with pytest.warns(PluginWarning, match=problem):
        assert backends.preferred(torch.device("cpu")) == ["torch"]
    assert backends.tuned() == ("torch", "triton")
    assert problem in dict(backends.report())[name]
    with pytest.raises(BackendError, match=problem):
        backends.get(name)


def test_an_entry_point_has_the_name_of_its_backend(install_backends: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = Dense()
    install_backends(backend)
    backend.name = "other"
    with pytest.warns(PluginWarning), pytest.raises(BackendError, match=r"'dense' names a backend .* 'other'"):
        backends.known("dense")


def test_a_backend_that_is_left_out_is_unknown(install_backends: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DISABLED, "torch")
    install_backends()
    assert backends.names() == ["reference", "triton"]
    query = torch.randn(1, 1, 4, 4)
    with pytest.raises(BackendError, match=rf"No backend prefers .* 'cpu'(?s:.*)left out: {DISABLED}=torch"):
        attncc.attention(query, query, query, attncc.load("causal"), scale=1.5)
    with pytest.raises(BackendError, match=rf"Unknown backend 'torch'(?s:.*)left out: {DISABLED}=torch"):
        attncc.attention(query, query, query, attncc.load("causal"), backend="torch")


def test_without_metadata_the_error_says_to_install(monkeypatch: pytest.MonkeyPatch, install_backends: Install) -> None:
    monkeypatch.setattr("attncc._util.entry_points.entry_points", lambda group: [])
    install_backends()
    with pytest.raises(BackendError, match="install it anew"):
        backends.check("torch")
    with pytest.raises(BackendError, match="install it anew"):
        backends.preferred(torch.device("cpu"))


def test_a_backend_that_compiles_nothing_refuses_to_lower_kernels() -> None:
    backend, inputs = backends.known("reference"), Inputs(1, 1, 1, 16, 16, "fp32")
    plan = attncc.plan(attncc.load("causal"), 16)
    with pytest.raises(BackendError, match="no kernels that can be compiled for h100"):
        backend.lower_kernels(plan, None, {}, inputs, targets.target("h100"), False)
