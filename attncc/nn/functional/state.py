"""What steps return for the next one."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class MemoryState:
    """Tensors that a step takes and returns, and numbers beside them; nothing changes them."""

    def detached(self) -> Self:
        """Return the state without its history: gradients end here."""
        given: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: x.detach() for name, x in given.items() if isinstance(x, Tensor)})


class KeyValues(NamedTuple):
    """Keys (B, Hkv, N, D) and values (B, Hkv, N, Dv) of earlier tokens."""

    key: Tensor
    value: Tensor

    @property
    def length(self) -> int:
        """The number of tokens."""
        return self.key.shape[2]

    def and_then(self, later: KeyValues) -> KeyValues:
        """Return these, followed by later ones."""
        return KeyValues(torch.cat([self.key, later.key], 2), torch.cat([self.value, later.value], 2))

    def last(self, size: int) -> KeyValues:
        """Return those of the last `size` tokens, or of as many as there are."""
        first = max(0, self.length - size)
        return KeyValues(self.key[:, :, first:], self.value[:, :, first:])

    def detached(self) -> KeyValues:
        """Return them without their history: gradients end here."""
        return KeyValues(self.key.detach(), self.value.detach())
