"""Notes on a plan: what is legal, and may not be what was meant."""

from __future__ import annotations

from attncc.ir.interval import bounds, exact_box
from attncc.ir.predicate import Predicate
from attncc.ir.symbols import I, J
from attncc.ir.tables import Read
from attncc.planner.checks import limits_of
from attncc.planner.shape import Shape


def notes(predicate: Predicate, shape: Shape) -> tuple[str, ...]:
    """Return a sentence for each axis of a table that has more entries than positions reach at these lengths."""
    if not shape.q_len or not shape.kv_len:
        return ()
    reads = {read for atom in predicate.atoms for read in atom.expr.atoms(Read)}
    reached: dict[tuple[str, int, int], int] = {}
    for read in reads:
        for axis, (index, size) in enumerate(zip(read.indices, read.shape, strict=True)):
            if index.free_symbols & {I, J} and not index.has(Read):
                place = read.table.name, axis, size
                box = exact_box(limits_of(shape))
                reached[place] = max(reached.get(place, 0), int(bounds(index, box)[1][0]) + 1)
    return tuple(
        f"Table {name!r} has {size:,} entries along axis {axis}; positions reach the first {most:,} at these lengths."
        for (name, axis, size), most in sorted(reached.items())
        if most < size
    )
