"""Values of expressions at all positions, for the members of a prepared group: tensors (G, N)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sympy
import torch
from torch import Tensor

from attncc.ir.evaluate import evaluate, evaluate_predicate
from attncc.ir.predicate import Predicate
from attncc.ir.symbols import B, H, I, J
from attncc.ir.tables import TableSymbol
from attncc.planner.preparation import PreparedGroup
from attncc.planner.shape import Shape


@dataclass(frozen=True, eq=False)
class Positions:
    """What expressions are evaluated on.

    Attributes:
        shape: The lengths.
        members: G, the members of the group, each with a row of its own in every result.
        environment: Query positions (1, Nq), key positions (1, Nk), batch entries and heads (G, 1), and the tables,
            all int64.
    """

    shape: Shape
    members: int
    environment: Mapping[sympy.Basic, Any]

    @classmethod
    def of(cls, group: PreparedGroup, shape: Shape, tables: Mapping[TableSymbol, Tensor]) -> Positions:
        """Return the positions of a group's passes, on the device of the tables."""
        device = next(iter(tables.values())).device
        batches, heads = (numbers(own, device) for own in group.indices)
        queries = torch.arange(shape.q_len, device=device) + shape.q_offset
        keys = torch.arange(shape.kv_len, device=device)
        entries = {symbol: table.to(torch.int64) for symbol, table in tables.items()}
        named = {I: queries[None], J: keys[None], B: batches[:, None], H: heads[:, None]}
        return cls(shape, len(group.members), {**named, **entries})

    @property
    def device(self) -> torch.device:
        """Where everything is computed."""
        device: torch.device = self.environment[I].device
        return device

    def count(self, symbol: sympy.Symbol) -> int:
        """Return the number of queries (I) or of keys (J)."""
        return self.shape.q_len if symbol == I else self.shape.kv_len

    def at(self, symbol: sympy.Symbol, expr: sympy.Expr) -> Tensor:
        """Return an expression without the other one of i and j, at all positions of one, int64 (G, N)."""
        return self._spread(evaluate(expr, self.environment), symbol)

    def where(self, symbol: sympy.Symbol, predicate: Predicate) -> Tensor:
        """Return where a predicate without the other one of i and j holds, bool (G, N)."""
        return self._spread(evaluate_predicate(predicate, self.environment), symbol)

    def _spread(self, value: Any, symbol: sympy.Symbol) -> Tensor:
        size = self.members, self.count(symbol)
        if isinstance(value, Tensor):
            return value.expand(size)
        return torch.full(size, value, device=self.device)


def numbers(values: list[int], device: torch.device) -> Tensor:
    """Return integers as int64 (n,): consecutive ones without a copy from the host, which CUDA graphs don't take."""
    if values == list(range(values[0], values[0] + len(values))):
        return torch.arange(values[0], values[0] + len(values), device=device)
    return torch.stack([torch.full((), value, device=device) for value in values])
