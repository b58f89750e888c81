"""Partitioned schedules: one pattern, many devices, exactly the rows that each of them needs.

Names are imported when they are first used: planning needs no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from attncc.distributed.compiling import compile as compile
    from attncc.distributed.lookahead import ahead as ahead
    from attncc.distributed.operator import DistributedAttention as DistributedAttention
    from attncc.distributed.schedule import Schedule as Schedule
    from attncc.distributed.settings import Settings as Settings

_HOME = {
    "DistributedAttention": "attncc.distributed.operator",
    "Schedule": "attncc.distributed.schedule",
    "Settings": "attncc.distributed.settings",
    "ahead": "attncc.distributed.lookahead",
    "compile": "attncc.distributed.compiling",
}

__all__ = ["DistributedAttention", "Schedule", "Settings", "ahead", "compile"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'attncc.distributed' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value
