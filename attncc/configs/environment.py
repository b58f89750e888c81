"""Environments: all that a tuned configuration depends on, but the key."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Any

from attncc import backends
from attncc._util.machine import processor, threads, versions
from attncc.configs import validation
from attncc.errors import ConfigError, nearest
from attncc.machine_code import tools
from attncc.machine_code.options import settings
from attncc.targets import target as find_target

#: The backend of schedules' configurations, and the files that these depend on.
SCHEDULES = "distributed"
SCHEDULE_SOURCES = ("planner", "targets", "distributed")
#: Fields that may differ between machines with one installation.
PLACES = ("machine", "settings")

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Environment:
    """The code, packages and machine of a backend on a target. Raises ConfigError for a value that none has.

    Attributes:
        backend: The backend's name, or SCHEDULES.
        target: The target's name, or the topology's.
        sources: The hash of the planner's and the backend's code.
        facts: The hash of the target's facts.
        packages: Versions of the packages that the backend runs on.
        machine: The processor and its threads, where they compute.
        settings: Environment variables that change kernels.
    """

    backend: str
    target: str
    sources: str
    facts: str
    packages: Pairs
    machine: Pairs = ()
    settings: Pairs = ()

    def __post_init__(self) -> None:
        for name in ("backend", "target"):
            validation.name(getattr(self, name), name)
        for name in ("sources", "facts"):
            validation.hexadecimal(getattr(self, name), name)

    @classmethod
    def of(cls, backend: str, target: str) -> Environment:
        """Return the environment of this process; raises ConfigError for a backend that isn't tuned, or no target."""
        if not backends.is_tuned(backend):
            raise ConfigError(
                f"Backend {backend!r} has nothing to tune.",
                rule=f"Configurations are kept for {', '.join(backends.tuned())}.",
                fix=nearest(backend, backends.tuned()),
            )
        facts, known = find_target(target), backends.known(backend)
        compiled_for = facts.gpu.backend if facts.gpu and known.compiles else ""
        return cls(
            backend=backend,
            target=target,
            sources=_sources(backends.sources(backend)),
            facts=validation.digest(asdict(facts)),
            packages=_packages(known.packages, compiled_for),
            machine=() if facts.gpu else (("processor", processor()), ("threads", str(threads()))),
            settings=tuple(settings()) if known.compiles else (),
        )

    @classmethod
    def of_topology(cls, name: str, digest: str) -> Environment:
        """Return the environment of schedules on a topology; `digest` is a hash of its devices and links."""
        return cls(SCHEDULES, name, _sources(SCHEDULE_SOURCES), digest, _packages(("torch",)))

    @classmethod
    def parse(cls, value: object) -> Environment:
        """Return the environment that `describe` described; raises ConfigError for anything else."""
        return _parsed(validation.canonical(value))

    @classmethod
    def _of_record(cls, value: object) -> Environment:
        record = validation.record(value, [field.name for field in fields(cls)], "environment")
        for name in ("packages", *PLACES):
            pairs = validation.mapping(record[name], name)
            record[name] = tuple(sorted((key, validation.text(text, key, 4096)) for key, text in pairs.items()))
        return cls(**record)

    @cached_property
    def digest(self) -> str:
        """The name of the environment's folder: equal environments have equal digests, on every machine."""
        return validation.digest(self.describe())

    @cached_property
    def encoded(self) -> str:
        """What `describe` says, as JSON; thousands of entries share it."""
        return json.dumps(self.describe(), allow_nan=False)

    def describe(self) -> dict[str, Any]:
        """Return the environment as JSON-able data."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: dict(value) if isinstance(value, tuple) else value for name, value in values.items()}

    def differences(self, other: Environment) -> dict[str, tuple[object, object]]:
        """Return (mine, theirs) of each field that differs, such as "packages.torch"; None where one lacks it."""
        mine, theirs = flat(self.describe()), flat(other.describe())
        names = [*mine, *(name for name in theirs if name not in mine)]
        return {n: (mine.get(n), theirs.get(n)) for n in names if mine.get(n) != theirs.get(n)}

    @property
    def is_outdated(self) -> bool:
        """Whether no machine with this installation can be in it: code, packages or facts have changed since."""
        try:
            differences = self.differences(self._now())
        except ConfigError:  # its backend or target is gone
            return True
        return any(name.partition(".")[0] not in PLACES for name in differences)

    def _now(self) -> Environment:
        """Return this environment as of today; a topology, whose file may lie anywhere, is assumed unchanged."""
        if self.backend == SCHEDULES:
            return Environment.of_topology(self.target, self.facts)
        return Environment.of(self.backend, self.target)


@lru_cache(maxsize=64)
def _parsed(text: str) -> Environment:
    """Return the environment of a canonical text; thousands of entries share one, with its digest."""
    return Environment._of_record(json.loads(text))


def flat(described: dict[str, Any]) -> dict[str, object]:
    """Return a described environment without nesting, names such as "packages.torch"."""
    names: dict[str, object] = {}
    for name, value in described.items():
        names |= {f"{name}.{key}": each for key, each in value.items()} if isinstance(value, dict) else {name: value}
    return names


@cache
def _sources(places: tuple[str, ...]) -> str:
    """Hash the contents of files and folders, relative to the folder of attncc or absolute, once a process."""
    package = Path(__file__).parents[1]
    content_hash = hashlib.sha256()
    for place in places:
        path = package / place
        files = [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file())
        for file in files:
            if "__pycache__" not in file.parts:
                content = file.read_bytes()
                name = file.relative_to(package if path.is_relative_to(package) else path.parent).as_posix()
                content_hash.update(f"{name} {len(content)}\n".encode() + content)
    return content_hash.hexdigest()[:32]


@cache
def _packages(packages: tuple[str, ...], compiled_for: str = "") -> Pairs:
    """Return versions of packages, and of the assembler of kernels compiled for cuda."""
    installed = versions(packages)
    if compiled_for == "cuda":
        installed["ptxas"] = tools.release("ptxas")
    return tuple(sorted(installed.items()))
