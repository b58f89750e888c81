"""Merging of attention over disjoint sets of keys, with derivatives."""

from __future__ import annotations

from functools import reduce
from typing import Any

import torch
from torch import Tensor

from attncc._util.tracing import plain
from attncc.backends.accumulation import accumulation_dtype
from attncc.backends.logsum import LogSum, shares
from attncc.errors import ShapeError

_EXAMPLE = "Write attncc.merge((out_a, lse_a), (out_b, lse_b)), with what attention(..., return_lse=True) returns."


def merge(*parts: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Return attention over all keys, given (out, lse) over disjoint sets of them (Ye et al. 2025, section 2.2).

    Each part may have a pattern, a score, a backend and keys of its own, or be another library's. The order doesn't
    matter. The result is differentiable in all out and lse. A row whose lse is -inf has no keys in that part. Without
    keys in any part it gives out 0, lse -inf and zero gradients.

    Args:
        parts: One or more pairs (out, lse) of equal shapes, dtypes and devices: out (..., N, Dv), of a floating dtype
            and finite; lse, the natural-log sum of exponentials, (..., N), float32 (float64 for float64). Or triples
            (out, lse, max_scores), with the greatest score of each row in lse's shape and dtype.

    Returns:
        (out, lse) in the shapes and dtypes of each part, or (out, lse, max_scores). Sums are computed in lse's dtype.

    Raises:
        ShapeError: There is no part, or they don't fit together.
    """
    _check(parts)
    weights, lse = shares([LogSum(lse) for _, lse, *_ in parts])
    terms = [out * weight.unsqueeze(-1) for (out, *_), weight in zip(parts, weights, strict=True)]
    greatest = [part[2].detach() for part in parts if len(part) > 2]
    merged = reduce(torch.add, terms).to(parts[0][0].dtype), lse
    return (*merged, reduce(torch.maximum, greatest)) if greatest else merged


def _check(parts: tuple[Any, ...]) -> None:
    if not parts:
        raise ShapeError("attncc.merge() has no parts.", rule="It takes one part or more.", fix=_EXAMPLE)
    for number, part in enumerate(parts):
        if not _is_part(part) or len(part) != len(parts[0]):
            told = f"{type(part).__name__} of {len(part)}" if isinstance(part, tuple | list) else type(part).__name__
            raise ShapeError(
                f"Part {number} is a {told}.",
                rule="Parts are pairs of tensors, (out, lse), or all are triples, (out, lse, max_scores).",
                fix=_EXAMPLE,
            )
        out, *of_rows = part
        for name, rows in zip(("lse", "max_scores"), of_rows, strict=False):
            _check_part(number, out, name, rows)
        _check_alike(number, out, parts[0][0])


def _is_part(part: Any) -> bool:
    return isinstance(part, tuple | list) and len(part) in (2, 3) and all(isinstance(x, Tensor) for x in part)


def _check_part(number: int, out: Tensor, name: str, lse: Tensor) -> None:
    """Raise ShapeError unless an lse, or what else has its shape, belongs to its out."""
    if out.ndim == 0 or lse.shape != out.shape[:-1]:
        raise ShapeError(
            f"Part {number} has out {_shape(out)} and {name} {_shape(lse)}.",
            rule=f"out is (..., N, Dv), and {name} (..., N).",
            fix=f"Transpose or squeeze {name}: it has one number for each row of out.",
        )
    if not out.dtype.is_floating_point or lse.dtype != accumulation_dtype(out.dtype):
        raise ShapeError(
            f"Part {number} has out of {out.dtype} and {name} of {lse.dtype}.",
            rule=f"out is floating-point, and {name} float32, or float64 for an out of float64.",
            fix=f"Keep {name} as attention returns it; out's dtype has too few digits for it.",
        )
    if lse.device != out.device:
        raise ShapeError(
            f"Part {number} has out on {out.device} and {name} on {lse.device}.",
            rule="All tensors are on one device.",
            fix=f"Move them first: .to({str(out.device)!r}).",
        )


def _check_alike(number: int, out: Tensor, first: Tensor) -> None:
    """Raise ShapeError unless an out has the shape, dtype and device of the first part's."""
    if (out.shape, out.dtype, out.device) != (first.shape, first.dtype, first.device):
        raise ShapeError(
            f"Part {number} is {_shape(out)}, {out.dtype}, on {out.device}; part 0 is {_shape(first)}, {first.dtype}, "
            f"on {first.device}.",
            rule="All parts have the same queries, and one shape, dtype and device.",
            fix="Convert them first; where some queries have no keys in a part, fill in out 0 and lse -inf.",
        )


def _shape(x: Tensor) -> str:
    return str(tuple(map(plain, x.shape)))
