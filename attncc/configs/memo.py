"""The look-up of each call of attention(): remembered, and checked against what can change in a running process."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from attncc import backends
from attncc._util import storage
from attncc.configs.environment import Environment
from attncc.configs.key import Key
from attncc.configs.layers import PATH
from attncc.configs.lookup import OFF, SETTING, Found, find, setting
from attncc.configs.store import user_store

if TYPE_CHECKING:
    from attncc.backends.inputs import Inputs
    from attncc.frontend.patterns import Pattern
    from attncc.planner.shape import Shape

LOG = logging.getLogger("attncc")
#: Look-ups that are remembered, then forgotten all at once.
MOST = 4096
#: Nanoseconds in which a folder may change twice without its time changing: a tick of the file system's clock.
TICK = 50_000_000
#: Variables that decide what is found.
_VARIABLES = (SETTING, PATH, storage.ENVIRONMENT)


@dataclass(frozen=True)
class Remembered:
    """What was found, and what it depended on: `changed` is the time of the folder of winners, -1 while it is new."""

    found: Found
    variables: tuple[str | None, ...]
    threads: int
    winners: str
    changed: int

    def holds(self) -> bool:
        """Return whether nothing has changed since that the look-up depended on; it takes microseconds."""
        return (
            self.changed == _changed(self.winners)
            and self.threads == torch.get_num_threads()
            and self.variables == tuple(map(os.environ.get, _VARIABLES))
        )


_memo: dict[tuple[object, ...], Remembered] = {}
_logged: set[tuple[str, str, str]] = set()


def remembered(
    pattern: Pattern, score_key: str, shape: Shape, inputs: Inputs, direction: str, backend: str, target: str
) -> Remembered:
    """Return what `find` finds for a call, as long as it holds; it sees winners that other processes write.

    Environment variables of a compiler (TRITON_...) are read when a look-up isn't remembered. Raises ConfigError.
    """
    call = (pattern.handle, score_key, shape, inputs, direction, backend, target)
    known = _memo.get(call)
    if known is not None and known.holds():
        return known
    if len(_memo) >= MOST:
        _memo.clear()
    variables, threads = tuple(map(os.environ.get, _VARIABLES)), torch.get_num_threads()
    if not backends.is_tuned(backend) or setting() == OFF:
        fresh = Remembered(Found(), variables, threads, "", 0)
    else:
        found = _looked_up(Key.of(pattern, score_key, shape, inputs, direction, backend, target))
        fresh = Remembered(found[0], variables, threads, *found[1:])
    _memo[call] = fresh
    return fresh


def _looked_up(key: Key) -> tuple[Found, str, int]:
    """Look a key up; return also the folder of winners that it depended on, and when that changed."""
    environment = Environment.of(key.backend, key.target)
    winners = str(user_store().winners(environment))
    changed = _changed(winners)  # before the look-up: what is written during it is seen by the next one
    found = find(key, environment)
    _log(key, found)
    return found, winners, -1 if time.time_ns() - changed < TICK else changed


def _changed(folder: str) -> int:
    """Return when a folder changed last, in nanoseconds, or 0 where there is none."""
    try:
        return os.stat(folder).st_mtime_ns if folder else 0
    except OSError:
        return 0


def _log(key: Key, found: Found) -> None:
    """Say once for each key and source which configuration runs."""
    once = (key.digest, found.source, found.layer)
    if once not in _logged:
        _logged.add(once)
        LOG.debug("%s %s on %s: %s %s", key.direction, key.digest, key.backend, found, dict(found.config))
