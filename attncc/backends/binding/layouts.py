"""Layouts of prepared passes: the slots of queries and keys, and the key range of each query slot.

All positions have a slot. What a filter leaves out stands at the end of its axis, where no key range reaches.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from attncc.backends.binding.classes import class_numbers
from attncc.backends.binding.values import Positions
from attncc.ir.predicate import TRUE, Predicate
from attncc.ir.symbols import I, J
from attncc.planner.preparation import PreparedPass
from attncc.planner.relation import Band, Relation

#: Stands for the value of a key that a filter leaves out, above all others.
_BEYOND = (1 << 63) - 1


class BoundLayout(NamedTuple):
    """A pass laid out for the tables of a call; tensors are int64 (G, N), one row for each of the group's members.

    Attributes:
        rows, cols: The positions of query and key slots; None where slot s is position s.
        start, stop: Query slot r sees key slots start[r] <= c < stop[r], as far as the residual holds; start <= stop.
    """

    rows: Tensor | None
    cols: Tensor | None
    start: Tensor
    stop: Tensor


def bound_layout(work: PreparedPass, positions: Positions) -> BoundLayout:
    """Return the layout of a pass."""
    relation = work.relation
    if relation.ordering is not None:
        return _ordered(relation, relation.ordering, positions)
    start, stop = _limits(relation.bands, positions)
    if relation.joins:
        return _joined(relation, start, stop, positions)
    return _compacted(relation, start, stop, positions)


def _limits(bands: tuple[Band, ...], positions: Positions) -> tuple[Tensor, Tensor]:
    """Return the first key position that each query may see by its bands, and the first one beyond."""
    size = positions.members, positions.shape.q_len
    keys, device = positions.shape.kv_len, positions.device
    start, stop = torch.zeros(size, dtype=torch.int64, device=device), torch.full(size, keys, device=device)
    for band in bands:
        if band.low is not None:
            start = torch.maximum(start, _first_at_least(band, positions.at(I, band.low), positions))
        if band.high is not None:
            stop = torch.minimum(stop, _first_at_least(band, positions.at(I, band.high) + 1, positions))
    return start, torch.maximum(start, stop)


def _first_at_least(band: Band, limit: Tensor, positions: Positions) -> Tensor:
    """Return the first key position at which the band's key reaches a limit, the number of keys if none does."""
    if band.key == J:
        return limit.clamp(0, positions.shape.kv_len)
    return torch.searchsorted(positions.at(J, band.key).contiguous(), limit.contiguous())


def _compacted(relation: Relation, start: Tensor, stop: Tensor, positions: Positions) -> BoundLayout:
    """Lay out what passes a filter first, in its order; a key position's slot is the number of such keys before."""
    rows = cols = None
    if relation.key_filter != TRUE:
        passing = positions.where(J, relation.key_filter)
        cols = _passing_first(passing)
        before = torch.nn.functional.pad(passing.cumsum(-1), (1, 0))
        start, stop = before.gather(-1, start), before.gather(-1, stop)
    if relation.query_filter != TRUE:
        rows, start, stop = _filtered_rows(relation.query_filter, start, stop, positions)
    return BoundLayout(rows, cols, start, stop)


def _filtered_rows(
    condition: Predicate, start: Tensor, stop: Tensor, positions: Positions
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the queries that pass first, and the key ranges in that order, empty ones for the others."""
    passing = positions.where(I, condition)
    keys = torch.full_like(start, positions.shape.kv_len)
    start, stop = torch.where(passing, start, keys), torch.where(passing, stop, keys)
    rows = _passing_first(passing)
    return rows, start.gather(-1, rows), stop.gather(-1, rows)


def _passing_first(passing: Tensor) -> Tensor:
    """Return all positions, those that pass first, each kind in its order: by cumulative sums, without a sort."""
    number = passing.cumsum(-1)
    place = torch.arange(passing.shape[-1], device=passing.device).expand(passing.shape)
    slot = torch.where(passing, number - 1, number[:, -1:] + place - number)
    return torch.empty_like(slot).scatter(-1, slot, place)


def _joined(relation: Relation, start: Tensor, stop: Tensor, positions: Positions) -> BoundLayout:
    """Sort both sides by class, and search for (class, position) among the keys.

    Positions ascend in a class, so that a band's limits, which are positions, are sought together with the class.
    """
    of_query, of_key = class_numbers(relation, positions)
    width = positions.shape.kv_len + 1
    keys = torch.arange(positions.shape.kv_len, device=of_key.device)
    queries = torch.arange(positions.shape.q_len, device=of_query.device)
    sorted_keys, cols = torch.sort(of_key * width + keys)
    rows = torch.sort(of_query * positions.shape.q_len + queries).indices
    begin = of_query * width
    start, stop = (torch.searchsorted(sorted_keys, (begin + limit).gather(-1, rows)) for limit in (start, stop))
    return BoundLayout(rows, cols, start, stop)


def _ordered(relation: Relation, ordering: Band, positions: Positions) -> BoundLayout:
    """Sort keys by a value, and queries by the least one that they may see."""
    assert ordering.low is not None
    assert ordering.high is not None
    values = positions.at(J, ordering.key)
    low, high = (positions.at(I, limit).clamp(max=_BEYOND - 1) for limit in (ordering.low, ordering.high))
    if relation.key_filter != TRUE:
        values = values.masked_fill(~positions.where(J, relation.key_filter), _BEYOND)
    sorted_values, cols = torch.sort(values, stable=True)
    keys = torch.full_like(low, positions.shape.kv_len)
    start = torch.searchsorted(sorted_values, low.contiguous())
    stop = torch.searchsorted(sorted_values, high.contiguous(), right=True)
    if relation.query_filter != TRUE:
        passing = positions.where(I, relation.query_filter)
        low = low.masked_fill(~passing, _BEYOND)
        start, stop = torch.where(passing, start, keys), torch.where(passing, stop, keys)
    rows = torch.sort(low, stable=True).indices
    start, stop = start.gather(-1, rows), stop.gather(-1, rows)
    return BoundLayout(rows, cols, start, torch.maximum(start, stop))
