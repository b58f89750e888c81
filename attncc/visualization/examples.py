"""Examples: values of the parameters that a pattern needs and wasn't given.

A declaration has an example of its own, or they are drawn by what it claims.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import sympy
from numpy.random import Generator

from attncc.errors import AttnccError
from attncc.frontend.declarations import Parameter
from attncc.frontend.language import Table
from attncc.frontend.lists import Lists
from attncc.frontend.pattern_factory import PatternFactory
from attncc.frontend.patterns import Pattern
from attncc.ir.claims import Bounds, Distinct, Sorted
from attncc.ir.interval import bounds, exact_box
from attncc.ir.lists import IsMember
from attncc.ir.tables import Array
from attncc.planner.checks import limits_of, reads_of
from attncc.planner.shape import Shape
from attncc.visualization.lengths import SHORTEST, greatest_number

#: What values are drawn from, and how many different ones there are; a number is that many, too.
SEED, VALUES = 0, 8
#: Positions are that many times the greatest number of a predicate, but no more than LONG.
TIMES, LONG = 16, 4096
#: Entries of a table at most.
MOST = 1 << 20
#: Ways in which a table may be looked up, tried in turn: by one or two indices, for integers or booleans.
_FORMS = [(1, False), (1, True), (2, False), (2, True)]
#: Entries of a list.
_LISTED = 4


class DrawnExample(NamedTuple):
    """A pattern with drawn values for what it wasn't given.

    Attributes:
        pattern: The pattern.
        drawn: The values that were drawn, by parameter; empty where none had to be.
        how: In words, how they came about.
    """

    pattern: Pattern
    drawn: Mapping[str, Any]
    how: str = f", drawn with seed {SEED}"

    @property
    def told(self) -> str:
        """What was drawn, and how to give values of one's own, as on the command line."""
        words = [f"{name} {_described(value)}" for name, value in self.drawn.items()]
        own = [f"-p {name}={'@FILE' if _shape(value) else 'NUMBER'}" for name, value in self.drawn.items()]
        return f"example: {'; '.join(words)}{self.how}. For your own write {' '.join(own)}."


def drawn_example(
    declared: PatternFactory, given: Mapping[str, Any], length: int | None = None, least: int = SHORTEST
) -> DrawnExample:
    """Return a pattern with the parameters that are given, and with drawn ones for others that it requires.

    The example of the declaration comes first, if it has one that its function takes at this length. Else numbers are
    8, or the nearest within their bounds. Tables have runs of equal entries; sorted ones tell where the run of each
    position begins. Lists have up to four entries, and runs of equal rows. All keep what the declaration claims, and
    are as long as the positions need: `length`, or a few times the greatest number of the predicate, at least `least`.

    Raises:
        ParameterError: For a value that a parameter can't have.
        PatternError: For a function that takes none of the tables that are drawn.
    """
    missing = [p for p in declared.parameters if p.required and p.name not in given]
    if not missing:
        return DrawnExample(declared(**given), {})
    declared.checked(given, later=[p.name for p in missing])

    def tried(positions: int, size: int, listed: int) -> Iterator[DrawnExample]:
        with suppress(AttnccError):
            yield from _declared(declared, given, positions)
        for drawn in _values(missing, size, listed):
            with suppress(AttnccError):  # the function looks tables up in another way
                yield DrawnExample(declared(**given, **drawn), drawn)

    first = next(tried(LONG, SHORTEST, SHORTEST), None)
    if first is None:
        drawn = next(_values(missing, SHORTEST, SHORTEST))
        return DrawnExample(declared(**given, **drawn), drawn)  # which says what is wrong
    reach = min(max(TIMES * greatest_number(first.pattern), least), LONG) if length is None else length
    return next(tried(reach, *_reached(first.pattern, reach)), first)


def _declared(declared: PatternFactory, given: Mapping[str, Any], length: int) -> Iterator[DrawnExample]:
    """Yield the example of a declaration, if it has one, with given parameters in place of its own."""
    if declared.example is None:
        return
    known = {p.name: given.get(p.name, p.default) for p in declared.parameters if p.name in given or not p.required}
    asked = {name: known[name] for name in inspect.signature(declared.example).parameters if name in known}
    made = declared.example(length, **asked)
    drawn = {p.name: made[p.name] for p in declared.parameters if p.required and p.name not in given}
    yield DrawnExample(declared(**given, **drawn), drawn, f", for {length:,} positions")


def _reached(pattern: Pattern, length: int) -> tuple[int, int]:
    """Return how many entries of tables positions reach, and how many numbers are sought in lists, at a length."""
    box = exact_box(limits_of(Shape(length, length)))
    reads = reads_of(pattern.template.predicate)

    def most(expressions: Iterable[sympy.Expr]) -> int:
        return max((int(bounds(expr, box)[1][0]) + 1 for expr in expressions), default=1)

    indices = (index for read in reads for index in read.indices)
    return min(most(indices), length), most(read.value for read in reads if isinstance(read, IsMember))


def _values(missing: Sequence[Parameter], size: int, listed: int) -> Iterator[dict[str, Any]]:
    """Yield values of parameters, with `size` rows of lists or entries of tables a dimension, in each form of these.

    Lists have entries below `listed`. Tables have up to MOST entries.
    """
    for forms in product(_FORMS, repeat=sum(p.type is Table for p in missing)):
        if all(size**dimensions <= MOST for dimensions, _ in forms):
            generator, left = np.random.default_rng(SEED), iter(forms)
            yield {p.name: _drawn(p, size, listed, left, generator) for p in missing}


def _drawn(parameter: Parameter, size: int, listed: int, forms: Iterator[tuple[int, bool]], draw: Generator) -> Any:
    """Return a value that keeps the claims of a parameter; a table takes the next form."""
    if parameter.type is Table:
        return _table(parameter, size, *next(forms), draw)
    if parameter.type is Lists:
        runs = _runs(size, draw)[1]
        return np.clip(draw.integers(0, listed, (VALUES, _LISTED)), *_limits(parameter))[runs]
    return parameter.type(np.clip(VALUES, *_limits(parameter)))


def _table(parameter: Parameter, size: int, dimensions: int, is_boolean: bool, draw: Generator) -> Array:
    """Return a table, with integers in rows that are alike."""
    if is_boolean:
        return draw.random((size,) * dimensions) < 1 / VALUES
    (low, high), kinds = _limits(parameter), {type(claim) for claim in parameter.claims}
    starts, runs = _runs(size, draw)
    if Distinct in kinds:
        row = low + (np.arange(size) if Sorted in kinds else draw.permutation(size))
    elif Sorted in kinds:
        row = low + starts[runs]
    else:
        row = low + draw.permutation(np.arange(VALUES) % min(high - low + 1, VALUES))[runs]
    return np.broadcast_to(np.minimum(row, high), (size,) * dimensions)


def _runs(size: int, draw: Generator) -> tuple[Array, Array]:
    """Return where runs begin, VALUES of them or one for each position, and the number of the run of each position."""
    starts = np.append(0, np.sort(draw.choice(np.arange(1, size), min(VALUES, size) - 1, replace=False)))
    return starts, np.searchsorted(starts, np.arange(size), side="right") - 1


def _limits(parameter: Parameter) -> tuple[int, int]:
    """Return the least and the greatest number that a parameter may be, from 0 on where its declaration doesn't say."""
    claimed = [claim for claim in parameter.claims if isinstance(claim, Bounds)]
    low, high = (claimed or [Bounds()])[0].ends
    return (low if claimed and claimed[0].minimum is not None else min(0, high)), high


def _described(value: Any) -> str:
    """Return a drawn value in a few words."""
    if not _shape(value):
        return f"= {value}"
    entries = np.asarray(value.data if isinstance(value, Table | Lists) else value)
    kind = "booleans" if entries.dtype == bool else f"entries from {entries.min()} to {entries.max()}"
    return f"of shape {'x'.join(map(str, entries.shape))} with {kind}"


def _shape(value: Any) -> tuple[int, ...]:
    return value.shape if isinstance(value, Table | Lists) else np.shape(value)
