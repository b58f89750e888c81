"""Sinks: one more term of each row's softmax, a learned logit whose value is 0."""

from __future__ import annotations

import torch
from torch import Tensor

from attncc._util.tracing import plain
from attncc.backends.logsum import LogSum, shares
from attncc.errors import ShapeError


def with_sink(out: Tensor, lse: LogSum, sink: Tensor) -> tuple[Tensor, Tensor]:
    """Return (out, lse) of a softmax that has the term exp(sink), too; differentiable.

    out is (B, Hq, Nq, Dv), lse (B, Hq, Nq), and the sink as in attncc.attention. A row without keys has the sink alone,
    and a sink of -inf is none.
    """
    (share, _), total = shares([lse, LogSum(_by_rows(sink).to(lse.value.dtype))])
    return (out * share.unsqueeze(-1)).to(out.dtype), total


def check_sink(sink: object, query: Tensor) -> None:
    """Raise ShapeError unless a sink fits a query (B, Hq, Nq, D)."""
    logits = check_kind(sink)
    if logits.device != query.device:
        raise ShapeError(
            f"The sink is on {logits.device}, query on {query.device}.",
            rule="A sink is on the tensors' device.",
            fix=f"Move it first: .to({str(query.device)!r}).",
        )
    sizes = zip(reversed(_by_rows(logits).shape), reversed(query.shape[:3]), strict=False)
    if logits.ndim > 3 or not all(size == 1 or size == rows for size, rows in sizes):
        raise ShapeError(
            f"sink {tuple(map(plain, logits.shape))}, query {tuple(map(plain, query.shape))}.",
            rule="A sink is (Hq,), (B, Hq) or (B, Hq, Nq), where any size may be 1, or a number, ().",
            fix="Give one logit for each query head, (Hq,).",
        )


def check_kind(sink: object) -> Tensor:
    """Return a sink; raises ShapeError for anything but a strided floating-point tensor."""
    if isinstance(sink, Tensor) and sink.layout == torch.strided and not sink.is_nested:
        if sink.dtype.is_floating_point:
            return sink
        kind = f"tensor of {sink.dtype}"
    else:
        kind = f"tensor with layout {sink.layout}" if isinstance(sink, Tensor) else type(sink).__name__
    raise ShapeError(
        f"The sink is a {kind}.",
        rule="A sink is a strided floating-point tensor: logits, one for each query head.",
        fix="For a softmax with 1 in its denominator give torch.zeros(()) on the query's device.",
    )


def _by_rows(sink: Tensor) -> Tensor:
    """Return a sink in a shape that broadcasts to (B, Hq, Nq)."""
    return sink.unsqueeze(-1) if sink.ndim in (1, 2) else sink
