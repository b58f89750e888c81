"""Modules that run once more in the backward pass, with the parameters that they had in the forward."""

from __future__ import annotations

from itertools import chain

from torch import Tensor, nn
from torch.func import functional_call


def tensors_of(module: nn.Module) -> dict[str, Tensor]:
    """Return a module's parameters and buffers by their names, as they are now."""
    return dict(chain(module.named_parameters(), module.named_buffers()))


def run_with(module: nn.Module, tensors: dict[str, Tensor], hidden: Tensor) -> Tensor:
    """Run a module with tensors that it had, where others stand in their place now.

    `torch.func.functional_call` lends parameters for the time of a forward, and takes them back before the backward.
    """
    now = tensors_of(module)
    lent = {name: x for name, x in tensors.items() if x is not now.get(name)}
    found: Tensor = functional_call(module, lent, (hidden,))
    return found
