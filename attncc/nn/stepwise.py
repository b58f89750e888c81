"""What a layer must offer for a model that goes on from earlier tokens."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor


class Stepwise(Protocol):
    """A layer that computes a whole sequence without a state, and goes along one with a state.

    Both give the same numbers, however a sequence is cut into steps.
    """

    def __call__(self, hidden: Tensor, /) -> Tensor:
        """Return the layer's result on a whole sequence, (B, N, E)."""
        ...

    def step(self, hidden: Tensor, past: Any = None) -> tuple[Tensor, Any]:
        """Return the same for tokens that follow earlier ones, and the state for the next step.

        Args:
            hidden: (B, N, E).
            past: What the step before returned; None at the beginning.
        """
        ...
