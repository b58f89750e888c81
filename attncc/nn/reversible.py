"""Reversible layers: activations of one layer are kept, whatever the depth (Gomez et al. 2017, Kitaev et al. 2020)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate, chain, pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import get_device_states, set_device_states

from attncc.errors import AttnccError, ParameterError
from attncc.nn.auxiliary import ReportedLosses, auxiliary_losses
from attncc.nn.recomputed import run_with, tensors_of

Pair = tuple[nn.Module, nn.Module]


class ReversibleStack(nn.Module):
    """Layers y1 = x1 + f(x2), y2 = x2 + g(y1), whose inputs the backward pass finds again from their outputs.

    Both halves begin with the same input, and their mean is the result (Kitaev et al. 2020, section 3). Random numbers,
    such as dropout's, are drawn again as they were. Gradients go to the input and to parameters, those of auxiliary
    losses too, not to other tensors that modules close over. There are no second derivatives.

    Args:
        layers: Pairs (f, g) of modules from (B, N, E) to (B, N, E), such as attention and a feed-forward layer behind
            their norms.

    Raises:
        ParameterError: Without layers, or for one that isn't a pair of modules.
    """

    def __init__(self, layers: Sequence[Pair]) -> None:
        super().__init__()
        if not layers:
            raise ParameterError("layers is empty.", rule="A stack has at least one.", fix="Pass a list of pairs.")
        for number, pair in enumerate(layers):
            if not isinstance(pair, tuple | list) or list(map(_is_module, pair)) != [True, True]:
                raise ParameterError(
                    f"layers[{number}] is {pair!r:.200}.",
                    rule="A layer is a pair of modules, (f, g).",
                    fix="Pass (attention behind its norm, feed-forward layer behind its norm).",
                )
        self.f, self.g = (nn.ModuleList(each) for each in zip(*layers, strict=True))
        self.reported = ReportedLosses()

    def forward(self, hidden: Tensor) -> Tensor:
        """Return the stack's result on (B, N, E)."""
        pairs = tuple(zip(self.f, self.g, strict=True))
        parameters = [p for p in self.parameters() if p.requires_grad]
        wanted = self.reported.are_wanted
        first, second, *losses = _Reversible.apply(pairs, wanted, hidden, hidden, *parameters)  # type: ignore[no-untyped-call]
        for loss in losses:
            self.reported(loss)
        found: Tensor = (first + second) / 2
        return found


def _is_module(value: object) -> bool:
    return isinstance(value, nn.Module)


@dataclass(frozen=True)
class _Drawing:
    """The state in which a module ran: random numbers and mixed precision."""

    cpu: Tensor
    devices: list[int]
    states: list[Tensor]
    device_type: str
    dtype: torch.dtype
    autocasts: bool

    @classmethod
    def now(cls, x: Tensor) -> _Drawing:
        kind = x.device.type
        dtype, autocasts = torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind)
        return cls(torch.get_rng_state(), *get_device_states(x), kind, dtype, autocasts)

    @contextmanager
    def again(self) -> Iterator[None]:
        """Run in the same state once more."""
        kind = self.device_type
        with torch.random.fork_rng(self.devices, device_type=kind if self.devices else "cuda"):
            torch.set_rng_state(self.cpu)
            if self.devices:
                set_device_states(self.devices, self.states, device_type=kind)
            with torch.autocast(kind, self.dtype, self.autocasts):
                yield


class _Reversible(torch.autograd.Function):
    """The layers as one function that saves its outputs alone. Parameters are arguments, to get gradients."""

    @staticmethod
    def forward(
        ctx: Any, pairs: Sequence[Pair], wanted: bool, x1: Tensor, x2: Tensor, *parameters: Tensor
    ) -> tuple[Tensor, ...]:
        drawings, losses = [], []
        given = [(tensors_of(f), tensors_of(g)) for f, g in pairs]
        for f, g in pairs:
            drawings.append(_Drawing.now(x1))
            with _losses(f, wanted) as of_f:
                x1 = x1 + f(x2)
            drawings.append(_Drawing.now(x1))
            with _losses(g, wanted) as of_g:
                x2 = x2 + g(x1)
            losses += [of_f, of_g]
        ctx.losses = [len(each) for each in losses]
        ctx.pairs, ctx.given, ctx.drawings, ctx.parameters = pairs, given, drawings, parameters
        ctx.versions = [p._version for p in parameters]
        ctx.save_for_backward(x1, x2)
        return x1.clone() if x1.data_ptr() == x2.data_ptr() else x1, x2, *chain(*losses)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad1: Tensor, grad2: Tensor, *of_losses: Tensor) -> tuple[Any, ...]:
        if ctx.versions != [p._version for p in ctx.parameters]:
            raise AttnccError(
                "Parameters of a ReversibleStack were changed between its forward and its backward pass.",
                rule="The backward pass runs layers again, as they were.",
                fix="Step the optimizer after the backward pass.",
            )
        x1, x2 = ctx.saved_tensors
        grads = {id(p): torch.zeros_like(p) for p in ctx.parameters}
        begun = list(accumulate(ctx.losses, initial=0))
        of_each = [of_losses[first:end] for first, end in pairwise(begun)]
        drawn = zip(ctx.drawings[-2::-2], ctx.drawings[::-2], of_each[-2::-2], of_each[::-2], strict=True)
        for (f, g), (of_f, of_g), (first, second, losses_f, losses_g) in zip(
            ctx.pairs[::-1], ctx.given[::-1], drawn, strict=True
        ):
            x2, from_g = _undone(g, of_g, x1, x2, (grad2, *losses_g), second, grads)
            grad1 = grad1 + from_g
            x1, from_f = _undone(f, of_f, x2, x1, (grad1, *losses_f), first, grads)
            grad2 = grad2 + from_f
        return None, None, grad1, grad2, *(grads[id(p)] for p in ctx.parameters)


@contextmanager
def _losses(module: nn.Module, wanted: bool) -> Iterator[list[Tensor]]:
    """Collect the auxiliary losses of a module, if they are wanted."""
    if not wanted:
        yield []
        return
    with auxiliary_losses(module) as found:
        yield found


def _undone(
    module: nn.Module,
    tensors: dict[str, Tensor],
    seen: Tensor,
    out: Tensor,
    outer: tuple[Tensor, ...],
    drawing: _Drawing,
    grads: dict[int, Tensor],
) -> tuple[Tensor, Tensor]:
    """Return what `out` was before module(seen) was added, and the gradient of `seen`; add those of parameters.

    `outer` are the gradients of `out` and of the module's auxiliary losses.
    """
    own = [p for p in tensors.values() if id(p) in grads]
    with torch.enable_grad(), drawing.again(), _losses(module, len(outer) > 1) as losses:
        leaf = seen.detach().requires_grad_()
        added = run_with(module, tensors, leaf)
    found = [(x, grad) for x, grad in zip((added, *losses), outer, strict=True) if x.requires_grad]
    of_seen, *of_own = (
        torch.autograd.grad([x for x, _ in found], [leaf, *own], [grad for _, grad in found], allow_unused=True)
        if found
        else (None,) * (1 + len(own))
    )
    for p, each in zip(own, of_own, strict=True):
        if each is not None:
            grads[id(p)] += each
    return out - added.detach(), torch.zeros_like(seen) if of_seen is None else of_seen
