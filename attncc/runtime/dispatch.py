"""Dispatch: a call runs at once, or as an operator that torch's dispatcher sees; both have the same derivatives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from attncc.backends.logsum import LogSum
from attncc.frontend.patterns import Pattern
from attncc.frontend.scores import Score
from attncc.ir.score import IDENTITY
from attncc.ir.tables import TableData
from attncc.runtime import export, library, operators
from attncc.runtime.arguments import check_kinds, fitting, scale_of
from attncc.runtime.call import AttentionCall, Result
from attncc.runtime.eager import is_eager
from attncc.runtime.sinks import with_sink


def run_call(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    call: AttentionCall,
    pattern: Pattern,
    score: Score,
    sink: Tensor | None,
) -> Result:
    """Return what attncc.attention does for a call of a pattern and a score.

    Raises ShapeError, BackendError and ScoreError for tensors that don't fit, and what planning raises.
    """
    weights = score.tensors
    eager = is_eager(query, key, value, *weights)
    if not eager:
        check_kinds(query, key, value, call, score)
    tensors = fitting(query, key, value, call, score, sink)
    scale = scale_of(call.scale, tensors[0])
    tables: Sequence[Tensor] | None = None
    if not eager and export.is_exporting():
        tables, call = export.exported(call, pattern, score)
    elif call.is_template or score.tables:
        tables = [_as_tensor(table) for table in export.graph_tables(call, pattern, score)]
    if call.is_composite and tables is None:
        out, lse, *rest = operators.composite_attention(*tensors, weights, scale, *call.operands)
    else:
        if call.score != IDENTITY.key:
            tables = tables or []
        if eager:
            named, given = (pattern, score), () if tables is None else weights  # which such a score doesn't look up
            out, lse, *rest = operators.eager_attention(*tensors, given, tables, named, scale, *call.operands)
        elif tables is None:
            out, lse, *rest = library.attention(*tensors, scale, *call.operands)
        else:
            out, lse, *rest = library.general_attention(*tensors, weights, tables, scale, *call.operands)
    if sink is not None:
        out, lse = with_sink(out, LogSum(lse, *rest), sink)
    found = (out, lse) if call.return_lse else (out,)
    if call.return_max_scores:
        greatest = operators.eager_max_scores if eager or call.is_composite else library.max_scores
        found += (greatest(*tensors, weights, tables or [], scale, *call.operands),)
    return found if len(found) > 1 else out


def _as_tensor(table: Any) -> Tensor:
    """Return a table of a graph as an input of it, or as the value of it that it is."""
    if not isinstance(table, TableData):
        return torch.as_tensor(table)
    return torch.from_numpy(table.entries) if table.tensor is None else table.tensor
