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

    Where activations are computed again in the backward pass (torch.utils.checkpoint), that belongs inside, too.

    Args:
        model: Any module.

    Yields:
        A list that grows by a number, (), at each call of such a layer.
    """
    losses: list[Tensor] = []

    def collect(layer: Any, given: tuple[Any, ...], _: Any) -> None:
        losses.append(layer.auxiliary_loss(*given))

    hooks = [each.register_forward_hook(collect) for each in dict.fromkeys(_layers(model))]
    try:
        yield losses
    finally:
        for hook in hooks:
            hook.remove()


class ReportedLosses(nn.Module):
    """What the losses of layers pass through that a module runs by itself, as an autograd function does.

    Such a module has one as `reported`, and its layers aren't looked at from outside.
    """

    @property
    def are_wanted(self) -> bool:
        """Whether somebody collects them."""
        return bool(self._forward_hooks)

    def forward(self, loss: Tensor) -> Tensor:
        """Return the loss of one layer, ()."""
        return loss

    def auxiliary_loss(self, loss: Tensor) -> Tensor:
        """Return the same."""
        return loss


def _layers(model: nn.Module) -> Iterator[nn.Module]:
    """Yield the layers that have a loss, or report those of others; one that stands in two places comes twice."""
    reported = getattr(model, "reported", None)
    if isinstance(reported, ReportedLosses):
        yield reported
        return
    if hasattr(model, "auxiliary_loss"):
        yield model
    for child in model.children():
        yield from _layers(child)
