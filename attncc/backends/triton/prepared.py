"""Prepared patterns: launches whose arrays are bound to the tables of a call, on the device where these lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import sympy
import torch
from torch import Tensor

from attncc.backends.binding.programs import DeviceBinding
from attncc.backends.triton.launch import Launch, Phase
from attncc.backends.triton.lower import KernelTiling
from attncc.backends.triton.lowered_plan import LoweredPhases
from attncc.backends.triton.pack_gqa import GridHeads
from attncc.backends.triton.spec import Spec
from attncc.backends.triton.tiled_pass import KeyBound
from attncc.ir.normal import comparison
from attncc.ir.placeholders import Placeholder, shared_of
from attncc.ir.predicate import TRUE, Predicate
from attncc.ir.symbols import B, H, I, J
from attncc.ir.tables import Read, TableSymbol
from attncc.planner.preparation import PreparedGroup, PreparedPass, PreparedPattern
from attncc.planner.relation import Relation

#: The arrays that a kernel reads where its spec says so; all others come with the work list.
_OF_LAYOUT = ("row_positions", "col_positions", "start_slots", "stop_slots")


@dataclass(frozen=True, eq=False)
class BoundArrays:
    """Which arrays of a binding a launch reads."""

    group: PreparedGroup
    work: PreparedPass
    member: int
    block_m: int
    block_n: int
    by_keys: bool
    tables: Mapping[str, tuple[TableSymbol, tuple[int, ...]]]  # by argument: the table, and the indices of its part


@dataclass(frozen=True, eq=False)
class PreparedPhases(LoweredPhases):
    """A prepared pattern's launches, but for the arrays that are bound: a launch for each member and pass."""

    plan: PreparedPattern
    bound_arrays: dict[Launch, BoundArrays] = field(default_factory=dict, repr=False)

    def _phase(self, kernel: str, writes: tuple[str, ...], *, whole_heads: bool) -> Phase:
        launches = []
        covered = once = True
        for group in self.plan.groups:
            for number, (entries, own) in enumerate(group.members):
                heads = GridHeads.of(entries, own, self.batch, self.heads, self.kv_heads)
                opens = bool(group.passes) and (whole_heads or heads.listed is None)
                covered, once = covered and opens, once and opens and len(group.passes) == 1
                launches += [
                    self._launch(kernel, group, work, number, heads, opens=opens and work is group.passes[0])
                    for work in group.passes
                ]
        placed = [self._placed(launch, accumulated=not once) for launch, _ in launches]
        self.bound_arrays.update(zip(placed, (arrays for _, arrays in launches), strict=True))
        return Phase(tuple(placed), writes, covered, once)

    def _launch(
        self, kernel: str, group: PreparedGroup, work: PreparedPass, number: int, heads: GridHeads, *, opens: bool
    ) -> tuple[Launch, BoundArrays]:
        shape = self.plan.shape
        residual, parts = _of_member(work.residual, *(own[number] for own in group.indices))
        spec = self.lowering.spec(kernel, work.predicate, residual, shape.q_len, shape.kv_len, shape.q_offset)
        tiling = self.lowering.tiling(kernel, shape.q_len, shape.kv_len, heads)
        start, stop = key_bounds(work.relation, shape.q_offset)
        moves_rows, moves_cols = _moved(work.relation)
        spec = replace(spec, gather_rows=moves_rows, gather_cols=moves_cols, start=start.kind, stop=stop.kind)
        spec = replace(spec, packed=tiling.packed, continues=not opens, head_subset=tiling.heads.listed is not None)
        launch = self._launched(spec, tiling, start.shift, stop.shift)
        tables = {name: parts[table.identity] for name, table in spec.tables if table.identity in parts}
        blocks = tiling.tiles.block_m, tiling.tiles.block_n
        return launch, BoundArrays(group, work, number, *blocks, spec.holds_keys, tables)

    def _launched(self, spec: Spec, tiling: KernelTiling, start_shift: int, stop_shift: int) -> Launch:
        shape, heads = self.plan.shape, tiling.heads
        numbers = {
            "rows": shape.q_len,
            "cols": shape.kv_len,
            "q_offset": shape.q_offset,
            "start_shift": start_shift,
            "stop_shift": stop_shift,
            "group_size": heads.group_size,
        }
        length, block = (shape.kv_len, tiling.tiles.block_n) if spec.holds_keys else (shape.q_len, tiling.tiles.block_m)
        writes = {name: name for name in spec.results}
        count = -(-length // block)
        return Launch(spec, self.lowering.shape, tiling.blocks, heads, count, heads.arrays, numbers, writes)

    def operands(self, binding: DeviceBinding, launch: Launch) -> dict[str, Tensor]:
        """Return the arrays of a launch by argument name; none for one that visits no tiles."""
        wanted = self.bound_arrays.get(launch)
        if wanted is None:
            return {}
        laid = binding.arrays(wanted.group, wanted.work)
        listed = binding.work_list(wanted.group, wanted.work, wanted.block_m, wanted.block_n, wanted.by_keys)
        found = {"items": listed.items[wanted.member], "runs": listed.runs[wanted.member]}
        found |= {name: laid[name][wanted.member] for name in _OF_LAYOUT if name in launch.spec.pointers}
        return found | {name: _part(binding.tables[symbol], at) for name, (symbol, at) in wanted.tables.items()}


def key_bounds(relation: Relation, q_offset: int) -> tuple[KeyBound, KeyBound]:
    """Return how the ends of the key ranges come to kernels: those that tables decide are stored."""
    stored = KeyBound("stored")
    if any(_moved(relation)):
        return stored, stored
    start = _bound([(band.key, band.low) for band in relation.bands if band.low is not None], q_offset)
    stop = _bound([(band.key, band.high) for band in relation.bands if band.high is not None], q_offset + 1)
    if "open" in (start.kind, stop.kind) or (start.kind == stop.kind == "slanted" and start.shift <= stop.shift):
        return start, stop
    return stored, stored  # where they cross, both are one slot: see BoundLayout


def _bound(limits: list[tuple[sympy.Expr, sympy.Expr]], shift: int) -> KeyBound:
    if not limits:
        return KeyBound("open")
    (key, limit), *others = limits
    if others or key != J or not (limit - I).is_Integer:
        return KeyBound("stored")
    return KeyBound("slanted", int(limit - I) + shift)


def _moved(relation: Relation) -> tuple[bool, bool]:
    """Return whether queries, and keys, have other slots than their positions."""
    sorts = bool(relation.joins) or relation.ordering is not None
    return sorts or relation.query_filter != TRUE, sorts or relation.key_filter != TRUE


def _of_member(
    residual: Predicate | None, batch: int, head: int
) -> tuple[Predicate | None, dict[str, tuple[TableSymbol, tuple[int, ...]]]]:
    """Return a residual of one batch entry and head, and the parts of tables that it looks up, by their identities.

    Members whose tables alone differ have one kernel.
    """
    parts: dict[str, tuple[TableSymbol, tuple[int, ...]]] = {}
    if residual is None:
        return None, parts
    values = {B: sympy.Integer(batch), H: sympy.Integer(head)}

    def sliced(read: Read) -> sympy.Expr:
        table: Placeholder = read.table  # type: ignore[assignment]
        leading = 0
        while leading < len(read.indices) - 1 and (read.indices[leading] in values or read.indices[leading].is_Integer):
            leading += 1
        at = tuple(int(index.xreplace(values)) for index in read.indices[:leading])
        name = "_".join([table.name, *map(str, read.indices[:leading])])
        sizes = table.shape[leading:]
        kind = table.kind._replace(shared=shared_of(sizes))
        part = Placeholder(name, table.number, kind, table.least, table.most, sizes)
        parts[part.identity] = read.args[0], at
        return read.func(TableSymbol(part), *read.args[1 + leading :])

    def of_atom(expr: sympy.Expr) -> sympy.Expr:
        return expr.replace(_is_bound, sliced).xreplace(values)

    return residual.map(lambda atom: comparison(atom.relation, of_atom(atom.expr))), parts


def _is_bound(expr: sympy.Basic) -> bool:
    return isinstance(expr, Read) and expr.table.is_placeholder


def _part(table: Tensor, at: tuple[int, ...]) -> Tensor:
    """Return a part of a table as kernels read it: as it is, but for dtypes in whose few bits Triton would compute."""
    part = table[at].contiguous()
    return part.to(torch.int32) if part.element_size() < 4 else part
