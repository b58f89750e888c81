"""What steps return for the next one."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Self

from torch import Tensor


@dataclass(frozen=True)
class MemoryState:
    """Tensors that a step takes and returns, and numbers beside them; nothing changes them."""

    def detached(self) -> Self:
        """Return the state without its history: gradients end here."""
        given: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: x.detach() for name, x in given.items() if isinstance(x, Tensor)})
