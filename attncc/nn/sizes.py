"""Sizes of layers, which are positive integers, and of what they get."""

from __future__ import annotations

from torch import Tensor

from attncc._util.tracing import plain
from attncc.errors import ParameterError, ShapeError


def check_positive(**sizes: object) -> None:
    """Raise ParameterError that names the first size that isn't an integer of at least 1."""
    for name, value in sizes.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ParameterError(
                f"{name}={value!r}.",
                rule=f"{name} is an integer of at least 1.",
                fix="Convert it to an int, and use 1 or more.",
            )


def check_tokens(hidden: Tensor, embed_dim: int) -> None:
    """Raise ShapeError unless a layer gets tokens (B, N, E)."""
    if hidden.ndim != 3 or hidden.shape[-1] != embed_dim:
        raise ShapeError(
            f"Tokens of shape {tuple(map(plain, hidden.shape))} for a layer of embed_dim={embed_dim}.",
            rule=f"A layer takes (B, N, E), with E = {embed_dim} here.",
            fix="Give a single sequence a batch dimension, hidden[None], and a layer the embed_dim of its tokens.",
        )


def check_past(hidden: Tensor, past: Tensor) -> None:
    """Raise ShapeError unless a state is of the batch that a step gets."""
    if hidden.shape[0] != past.shape[0]:
        raise ShapeError(
            f"{plain(hidden.shape[0])} batch entries after a past of {plain(past.shape[0])}.",
            rule="A step goes on with the sequences of the steps before.",
            fix="Pass what the step before returned, or None at the beginning of other sequences.",
        )
