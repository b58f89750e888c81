"""Environments: their contents, what changes them, and which are outdated."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from attncc.configs.environment import Environment
from attncc.errors import ConfigError


def test_torch_environments_describe_packages_and_machine() -> None:
    found = Environment.of("torch", "cpu").describe()
    assert found["packages"] == {"torch": importlib.metadata.version("torch")}
    assert found["machine"]["threads"] == str(torch.get_num_threads())
    assert found["settings"] == {}


def test_environments_of_absent_gpus_omit_the_machine() -> None:
    found = Environment.of("triton", "h100").describe()
    assert set(found["packages"]) == {"triton", "ptxas"}
    assert found["machine"] == {}
    assert set(Environment.of("triton", "mi300x").describe()["packages"]) == {"triton"}


def test_compiler_settings_change_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Environment.of("triton", "h100")
    monkeypatch.setenv("TRITON_DISABLE_LINE_INFO", "1")
    after = Environment.of("triton", "h100")
    assert before.differences(after) == {"settings.TRITON_DISABLE_LINE_INFO": (None, "1")}
    monkeypatch.setenv("TRITON_CACHE_DIR", "/elsewhere")
    assert Environment.of("triton", "h100") == after


def test_the_number_of_threads_changes_the_environment() -> None:
    before, threads = Environment.of("torch", "cpu"), torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        after = Environment.of("torch", "cpu")
    finally:
        torch.set_num_threads(threads)
    assert before.differences(after) == {"machine.threads": (str(threads), str(threads + 1))}
    assert before.digest != after.digest


def test_backends_have_their_own_source_digests() -> None:
    assert Environment.of("torch", "h100").sources != Environment.of("triton", "h100").sources


def test_environments_are_equal_in_every_process() -> None:
    program = "from attncc.configs.environment import Environment; print(Environment.of('triton', 'h100').digest)"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == Environment.of("triton", "h100").digest


def test_descriptions_round_trip() -> None:
    for found in (Environment.of("torch", "cpu"), Environment.of("triton", "h100")):
        assert Environment.parse(found.describe()) == found


@pytest.mark.parametrize(
    "change", [{"sources": "no hash"}, {"packages": []}, {"machine": {"threads": 2}}, {"settings": {"a\n": "b"}}]
)
def test_invalid_fields_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        Environment.parse(Environment.of("torch", "cpu").describe() | change)


def test_backends_without_tunables_have_no_environment() -> None:
    with pytest.raises(ConfigError, match="'reference' has nothing to tune"):
        Environment.of("reference", "cpu")


def test_only_other_software_makes_an_environment_outdated() -> None:
    found = Environment.of("torch", "cpu")
    assert not found.is_outdated
    assert not replace(found, machine=(("processor", "another"), ("threads", "96"))).is_outdated
    assert replace(found, packages=(("torch", "1.0"),)).is_outdated
    assert replace(found, sources="0" * 32).is_outdated
    assert replace(found, target="gone").is_outdated
