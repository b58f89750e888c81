"""Partitioned schedules: one pattern, many devices, exactly the rows that each of them needs.

Names are imported when they are first used: planning needs no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from attncc.distributed.execution.compiling import compile as compile
    from attncc.distributed.execution.operator import DistributedAttention as DistributedAttention
    from attncc.distributed.execution.operator import ahead as ahead
    from attncc.distributed.schedules.schedule import Schedule as Schedule
    from attncc.distributed.schedules.settings import Settings as Settings
    from attncc.distributed.topology.devices import Topology as Topology

_HOME = {
    "DistributedAttention": "attncc.distributed.execution.operator",
    "Schedule": "attncc.distributed.schedules.schedule",
    "Settings": "attncc.distributed.schedules.settings",
    "Topology": "attncc.distributed.topology.devices",
    "ahead": "attncc.distributed.execution.operator",
    "compile": "attncc.distributed.execution.compiling",
}

__all__ = ["DistributedAttention", "Schedule", "Settings", "Topology", "ahead", "compile"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'attncc.distributed' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value
