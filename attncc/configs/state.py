"""The state that a look-up depends on, as far as it can change in a running process."""

from __future__ import annotations

import os
import time

from attncc._util import storage
from attncc._util.machine import threads
from attncc.configs.layers import PATH
from attncc.configs.setting import SETTING

#: Variables that decide what a look-up gives.
_VARIABLES = (SETTING, PATH, storage.ENVIRONMENT)
#: Their names as os.environ holds them.
_HELD = tuple(map(os.environ.encodekey, _VARIABLES))
#: Nanoseconds in which a folder may change twice without its time changing: a tick of the file system's clock.
TICK = 50_000_000

State = tuple[object, ...]


def state(folder: str) -> State:
    """Return when a folder of winners last changed ("" for none), torch's threads, and environment variables."""
    held = getattr(os.environ, "_data", None)  # what os.environ looks variables up in: it raises for those not set
    found = map(os.environ.get, _VARIABLES) if held is None else map(held.get, _HELD)
    return _changed(folder), threads(), *found


def settled_state(folder: str) -> State:
    """Return the state, or an empty one, which never recurs, while the folder may change again within one tick."""
    present = state(folder)
    return () if time.time_ns() - _changed(folder) < TICK else present


def _changed(folder: str) -> int:
    """Return when a folder last changed, in nanoseconds, or 0 where there is none."""
    try:
        return os.stat(folder).st_mtime_ns if folder else 0
    except OSError:
        return 0
