"""Losses that layers have beside that of their model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn


@contextmanager
def auxiliary_losses(model: nn.Module) -> Iterator[list[Tensor]]:
    """Collect the auxiliary loss of each layer that has one, from what runs through a model meanwhile.

    These are layers with a method `auxiliary_loss` of what they are called with, such as `CompressiveMemory`. A loss of
    what a layer computes on the way is that of a layer which this passes through, as in `MixtureOfExperts`: it is
    computed once, and kept nowhere.

    Where activations are computed again in the backward pass (torch.utils.checkpoint), that belongs inside, too. A
    `ReversibleStack` runs its layers without gradients first, so that losses from inside of it have none.

    Args:
        model: Any module.

    Yields:
        A list that grows by a number, (), at each call of such a layer.
    """
    losses: list[Tensor] = []

    def collect(layer: Any, given: tuple[Any, ...], _: Any) -> None:
        losses.append(layer.auxiliary_loss(*given))

    hooks = [each.register_forward_hook(collect) for each in model.modules() if hasattr(each, "auxiliary_loss")]
    try:
        yield losses
    finally:
        for hook in hooks:
            hook.remove()
