"""A pattern's predicate as a mask_mod: a graph of torch's operators, which torch.compile and vmap look into."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.fx import Graph, GraphModule, Proxy
from torch.fx.proxy import GraphAppendingTracer

from attncc.ir.evaluate import evaluate_predicate
from attncc.ir.placeholders import Placeholder, TableKind
from attncc.ir.predicate import Predicate
from attncc.ir.symbols import NK, NQ, B, H, I, J
from attncc.ir.tables import Read, TableSymbol
from attncc.planner.shape import Shape

#: A function of FlexAttention's: (b, h, q_idx, kv_idx), int32 tensors, to bool.
MaskMod = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


class GraphTable(NamedTuple):
    """A table as an input of a graph: what evaluation asks of a table, by proxies."""

    proxy: Any
    shape: tuple[int, ...]

    def __getitem__(self, index: Any) -> Any:
        return self.proxy[index]


def mask_mod_of(predicate: Predicate, shape: Shape, device: torch.device | str) -> MaskMod:
    """Return the mask_mod of a predicate in b, h, i and j; query row 0 stands at the shape's `q_offset`.

    Its tables are tensors on `device`, int64, that the function closes over.
    """
    reads = {read for atom in predicate.atoms for read in atom.expr.atoms(Read)}
    symbols = sorted({read.args[0] for read in reads}, key=lambda symbol: str(symbol.table.digest))
    holders = {
        symbol: TableSymbol(Placeholder(f"table_{n}", n, TableKind.of(symbol.table)))
        for n, symbol in enumerate(symbols)
    }
    graph = Graph()
    tracer = GraphAppendingTracer(graph)
    proxies: list[Any] = [Proxy(graph.placeholder(name), tracer) for name in ("b", "h", "q_idx", "kv_idx")]
    b, h, q_idx, kv_idx = proxies
    env: dict[Any, Any] = {B: b, H: h, I: q_idx + shape.q_offset, J: kv_idx, NQ: shape.q_len, NK: shape.kv_len}
    for n, (symbol, holder) in enumerate(holders.items()):
        proxy = Proxy(graph.placeholder(f"table_{n}"), tracer)
        env[holder] = GraphTable(proxy, symbol.table.shape)
    moved = predicate.map(lambda atom: type(atom)(atom.relation, atom.expr.xreplace(holders)))
    holds = evaluate_predicate(moved, env)
    if isinstance(holds, bool):
        holds = torch.full_like(q_idx, holds, dtype=torch.bool)
    graph.output(holds.node)
    module = GraphModule(torch.nn.Module(), graph)
    tables = tuple(symbol.table.on(torch.device(device)) for symbol in symbols)

    def mask_mod(b: Tensor, h: Tensor, q_idx: Tensor, kv_idx: Tensor) -> Tensor:
        found: Tensor = module(b, h, q_idx, kv_idx, *tables)
        return found

    return mask_mod
