"""The shape at which a picture shows what a pattern is: a few times its greatest number, or what its tables have."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import sympy

from attncc.errors import AttnccError
from attncc.frontend.patterns import Pattern
from attncc.ir.fitting import wanted
from attncc.ir.quotient import FloorDiv
from attncc.ir.symbols import NK, NQ
from attncc.planner.checks import check
from attncc.planner.shape import Shape
from attncc.visualization.connectivity import grid

#: Lengths that are chosen: as many positions as a terminal has cells a side, and as many as are drawn at once.
SHORTEST, LONGEST = 64, 1 << 17
#: A picture is that many times as long as the greatest number of a predicate.
TIMES = 4
#: Cells a side in which the last key that any query sees is looked for.
KEYS = 256


def shown_length(pattern: Pattern, least: int = SHORTEST) -> int:
    """Return a number of positions at which a picture shows the structure of a pattern.

    A grid has its own. Tables of positions are shown whole, as far as they reach. Else it is a power of two that is a
    few times the greatest number that positions are compared with, so that a window of 256 is a quarter of the picture,
    and at least `least`.
    """
    grid = next(_of_grids(pattern), None)
    if grid is not None:
        return grid
    powers = [1 << bits for bits in range(SHORTEST.bit_length() - 1, LONGEST.bit_length())]
    own = next((length for length in powers if length >= max(TIMES * greatest_number(pattern), least)), LONGEST)
    if not pattern.looked_up:
        return own
    sizes = {size for table in pattern.looked_up for size in table.shape}
    fitting = [length for length in sorted({*powers, *sizes}) if 1 <= length <= LONGEST and _fits(pattern, length)]
    is_limited = fitting and fitting[-1] < LONGEST
    return fitting[-1] if is_limited else own


def shown_shape(pattern: Pattern, q_len: int | None = None, kv_len: int | None = None, least: int = SHORTEST) -> Shape:
    """Return the shape of a picture: with lengths that aren't given, those that show the structure of a pattern.

    There are as many keys as queries, unless no query sees the second half of them, as where a key stands for several
    positions: then they end with the last one that any query sees, or with its cell in a picture of KEYS. A pattern
    that tells n_q from n_k has keys before the queries, as many again.

    Raises:
        AttnccError: For a pattern that can't be looked up at these lengths.
    """
    q_len = shown_length(pattern, least) if q_len is None else q_len
    if {NQ, NK} <= pattern.free:
        kv_len = 2 * q_len if kv_len is None else kv_len
        return Shape(q_len, kv_len, q_offset=kv_len - q_len)
    shape = Shape(q_len, q_len if kv_len is None else kv_len)
    if kv_len is not None or NK in pattern.free:
        return shape
    cells = grid(pattern, shape, KEYS)
    seen = int(np.flatnonzero(cells.union.any(axis=0)).max(initial=-1) + 1) * cells.side
    return replace(shape, kv_len=seen) if 0 < 2 * seen <= q_len else shape


def _of_grids(pattern: Pattern) -> Iterator[int]:
    for quotient in {each for atom in pattern.predicate.atoms for each in atom.expr.atoms(FloorDiv)}:
        if (found := wanted(quotient.args[1])) is not None:
            yield found[1]


def greatest_number(pattern: Pattern) -> int:
    """Return the greatest number that a predicate has, by absolute value: of a quotient, its divisor."""
    numbers = (n for atom in pattern.predicate.atoms for n in atom.expr.atoms(sympy.Rational))
    return max((max(abs(int(n.p)), int(n.q)) for n in numbers), default=0)


def _fits(pattern: Pattern, length: int) -> bool:
    try:
        check(pattern.predicate, Shape(length, length))
    except AttnccError:
        return False
    return True
