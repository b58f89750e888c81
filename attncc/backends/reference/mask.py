"""The dense mask: the definition that every plan and every backend is tested against."""

from __future__ import annotations

import torch
from torch import Tensor

from attncc.frontend.accepted import AnyPattern, accepted_pattern
from attncc.frontend.patterns import Pattern
from attncc.ir.evaluate import evaluate_predicate
from attncc.ir.symbols import NK, NQ, B, H, I, J
from attncc.planner.checks import check
from attncc.planner.shape import Shape


def dense_mask(
    pattern: AnyPattern,
    q_len: int,
    kv_len: int | None = None,
    *,
    q_offset: int = 0,
    heads: int = 1,
    batch: int = 1,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Return the connectivity as a bool tensor (q_len, kv_len), True where query i sees key j.

    Dimensions B and H stand in front, in this order, only where the pattern depends on b or h: a mask (B, Nq, Nk) is
    `mask[:, None]` to `scaled_dot_product_attention`. The predicate is evaluated for every pair: this is the definition
    that everything else is tested against.
    """
    shape = Shape.of(q_len, kv_len, q_offset, heads, batch)
    return mask_rows(accepted_pattern(pattern), shape, torch.arange(shape.q_len, device=device))


def mask_rows(pattern: Pattern, shape: Shape, rows: Tensor) -> Tensor:
    """Return the rows of the dense mask that `rows`, int64 (R,), selects: bool ([B,] [H,] R, kv_len)."""
    predicate, device = pattern.predicate, rows.device
    check(predicate, shape, pattern)
    axes = {
        B: torch.arange(shape.batch, device=device).view(-1, 1, 1, 1),
        H: torch.arange(shape.heads, device=device).view(1, -1, 1, 1),
        I: rows.view(1, 1, -1, 1) + shape.q_offset,
        J: torch.arange(shape.kv_len, device=device).view(1, 1, 1, -1),
    }
    holds = torch.as_tensor(evaluate_predicate(predicate, {**axes, NQ: shape.q_len, NK: shape.kv_len}), device=device)
    own = shape.narrowed(pattern.free)
    leading = own.batch, own.heads
    full = holds.expand(*leading, len(rows), shape.kv_len)
    kept = [axis for axis, symbol in enumerate((B, H)) if symbol in pattern.free]
    return full.reshape([leading[axis] for axis in kept] + [len(rows), shape.kv_len]).contiguous()


def as_broadcast(mask: Tensor, pattern: Pattern) -> Tensor:
    """Return a dense mask so that it broadcasts against scores, (B, H, R, kv_len)."""
    free = pattern.free
    return mask.unsqueeze(1) if B in free and H not in free else mask
