"""Class numbers: the joins and filters of a relation as one number of each query and key, equal where all hold."""

from __future__ import annotations

import sympy
import torch
from torch import Tensor

from attncc.backends.binding.values import Positions
from attncc.ir.interval import bounds, exact_box
from attncc.ir.predicate import TRUE
from attncc.ir.symbols import I, J
from attncc.planner.checks import limits_of
from attncc.planner.classes import CLASSES
from attncc.planner.relation import Relation


def class_numbers(relation: Relation, positions: Positions) -> tuple[Tensor, Tensor]:
    """Return the class numbers of queries (G, Nq) and keys (G, Nk), int64 from 0 and below CLASSES.

    A position that a filter leaves out is in a class of its side's own, behind all others.
    """
    most = positions.shape.q_len + positions.shape.kv_len
    of_query, of_key, size = None, None, 1
    for join in relation.joins:
        left, right = positions.at(I, join.query), positions.at(J, join.key)
        low, high = _hull(join.query, join.key, positions)
        if high - low < CLASSES // 2:
            left, right, own = left - low, right - low, high - low + 1
        else:
            (left, right), own = _ranked(left, right), most
        if of_query is None or of_key is None:
            of_query, of_key, size = left, right, own
            continue
        if size * own >= CLASSES // 2:
            (of_query, of_key), size = _ranked(of_query, of_key), most
        if size * own >= CLASSES // 2:
            (left, right), own = _ranked(left, right), most
        of_query, of_key, size = of_query * own + left, of_key * own + right, size * own
        if size >= CLASSES // 2:
            (of_query, of_key), size = _ranked(of_query, of_key), most
    assert of_query is not None
    assert of_key is not None
    if relation.query_filter != TRUE:
        of_query = of_query.masked_fill(~positions.where(I, relation.query_filter), size)
    if relation.key_filter != TRUE:
        of_key = of_key.masked_fill(~positions.where(J, relation.key_filter), size + 1)
    return of_query, of_key


def _hull(query: sympy.Expr, key: sympy.Expr, positions: Positions) -> tuple[int, int]:
    """Return bounds of the values of both sides of a join, over all tables."""
    box = exact_box(limits_of(positions.shape))
    ends = [bounds(side, box) for side in (query, key)]
    return int(min(low[0] for low, _ in ends)), int(max(high[0] for _, high in ends))


def _ranked(of_query: Tensor, of_key: Tensor) -> tuple[Tensor, Tensor]:
    """Number the values of both sides alike, in their order, by numbers below the number of both."""
    values, order = torch.sort(torch.cat([of_query, of_key], -1))
    new = torch.nn.functional.pad((values[:, 1:] != values[:, :-1]).to(torch.int64), (1, 0))
    ranks = torch.empty_like(order).scatter(-1, order, new.cumsum(-1))
    queries = of_query.shape[-1]
    return ranks[:, :queries], ranks[:, queries:]
