"""Entries round-trip; invalid ones are refused."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from attncc.configs.entry import MAX_BYTES, MAX_REPR, Entry, about
from attncc.errors import ConfigError

Make = Callable[..., Entry]


def test_entries_round_trip(entry: Make, tmp_path: Path) -> None:
    made = entry(expected_error=0.2, trials=7, effort="quick", space="0" * 32, resources=[{"registers": 64}])
    (tmp_path / "entry.json").write_bytes(made.content())
    found = Entry.read(tmp_path / "entry.json")
    assert found == made
    assert found.speedup == 2
    assert found.pattern == "strided(l=8)"


@pytest.mark.parametrize(
    "change",
    [
        {"mode": "guessed"},
        {"format": 2},
        {"seconds": {"default": 1.0}},
        {"seconds": {"best": -1.0, "default": 1.0}},
        {"seconds": {"best": "1", "default": 1.0}},
        {"seconds": {"best": 1.0, "default": 1.0, "worst": 2.0}},
        {"samples": {"best": [1.0] * 10_001}},
        {"samples": {"best": [True]}},
        {"samples": {"best": 1.0}},
        {"config": {"forward.plan": "fastest"}},
        {"config": {"forward.tile_m": 3}},
        {"config": {"forward.tile_m": 2**40}},
        {"config": {"../up": 1}},
        {"config": {"forward.chunk": 1.5}},
        {"config": {"forward.chunk": [1]}},
        {"config": {"forward.chunk": None}},
        {"config": {f"a{n}": 1 for n in range(65)}},
        {"config": "forward.plan=fused"},
        {"resources": [{"name": {"deep": 1}}]},
        {"resources": [1]},
        {"made": "yesterday"},
        {"made": "2026-01-01T00:00:00"},
        {"trials": -1},
        {"seed": 1.5},
        {"effort": "\x1b[2J"},
        {"about": {"pattern": "x" * (MAX_REPR + 1)}},
        {"surplus": 1},
        {"key": None},
        {"environment": {}},
    ],
    ids=str,
)
def test_invalid_fields_are_refused(entry: Make, change: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        Entry.parse(entry().describe() | change)


def test_entries_for_two_backends_are_refused(entry: Make) -> None:
    with pytest.raises(ConfigError, match="different backends"):
        entry(backend="triton")


def _write(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "entry.json"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b'{"format": 1, "format": 1}',
        b"1" * 10_000,
        b"!!python/object/apply:os.system ['true']",
        b"\x80\x04\x95.",
    ],
    ids=lambda content: repr(content[:12]),
)
def test_malformed_files_are_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ConfigError):
        Entry.read(_write(tmp_path, content))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_numbers_that_are_not_finite_are_refused(entry: Make, tmp_path: Path, number: str) -> None:
    text = json.dumps(entry().describe()).replace('"best": 0.5', f'"best": {number}')
    with pytest.raises(ConfigError):
        Entry.read(_write(tmp_path, text.encode()))


def test_huge_files_are_refused(entry: Make, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at most 1,048,576"):
        Entry.read(_write(tmp_path, entry().content() + b" " * MAX_BYTES))


def test_irregular_files_are_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path):
        with pytest.raises(ConfigError, match="a regular file"):
            Entry.read(path)


def test_descriptions_of_patterns_are_printable_and_short() -> None:
    class Odd:
        def __repr__(self) -> str:
            return "\x1b[31m\n" + "x" * 5000

    found = about(Odd(), 1, 2)
    assert str(found["pattern"]).isprintable()
    assert len(str(found["pattern"])) == MAX_REPR
