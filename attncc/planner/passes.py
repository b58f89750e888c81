"""Passes, the alternatives that they make up, and groups of heads that share these. Pure data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

from attncc.frontend.pages import Pages
from attncc.ir.predicate import Predicate
from attncc.ir.tables import Array
from attncc.planner import counts, diagonals, membership, tiles
from attncc.planner.axis import Axis
from attncc.planner.key_ranges import KeyRanges
from attncc.planner.layout import Layout
from attncc.planner.shape import Shape
from attncc.planner.tiles import Tiles

#: Tilings of a pass in other blocks than its plan's that are kept; each of the three kernels has blocks of its own.
TILINGS = 4


@dataclass(frozen=True, eq=False)
class Pass:
    """One part of the work: the pairs of `predicate`, in one layout, in blocks of (block_m, block_n).

    `predicate` is in the absolute query position i (row + q_offset) and key position j. Query slot r sees the
    key slots of `key_ranges`, as far as `residual` (None: always) holds for their positions. Without `skips` all of
    its tiles are PARTIAL: none is looked at, so that the pass computes every pair and masks it. `stated` is the
    predicate, or what makes it when it is asked for: running the pass doesn't need it. Keys lie at their positions, or
    in the pages that a batch entry has for them: `pages` are a page table and the entry.
    """

    stated: Predicate | Callable[[], Predicate]
    layout: Layout
    q_offset: int
    block_m: int
    block_n: int
    skips: bool = True
    pages: tuple[Pages, int] | None = None

    @cached_property
    def predicate(self) -> Predicate:
        """Where the pass connects pairs."""
        return self.stated if isinstance(self.stated, Predicate) else self.stated()

    @property
    def rows(self) -> Axis:
        """The query rows, in their order."""
        return self.layout.rows

    @property
    def cols(self) -> Axis:
        """The keys, in their order."""
        return self.layout.cols

    @property
    def key_ranges(self) -> KeyRanges:
        return self.layout.key_ranges

    @property
    def residual(self) -> Predicate | None:
        return self.layout.residual

    def key_rows(self, positions: Array) -> Array:
        """Return the rows of key and value where positions lie."""
        if self.pages is None:
            return positions
        pages, entry = self.pages
        return pages.rows(entry, positions)

    def tiled(self, block_m: int, block_n: int) -> Pass:
        """Return the pass in other blocks; a few are kept with their tiles: a search asks for them again and again."""
        if (block_m, block_n) == (self.block_m, self.block_n):
            return self
        found = self._tilings.get((block_m, block_n))
        if found is None:
            if len(self._tilings) >= TILINGS:
                self._tilings.clear()
            found = self._tilings[block_m, block_n] = replace(self, block_m=block_m, block_n=block_n)
        return found

    @cached_property
    def _tilings(self) -> dict[tuple[int, int], Pass]:
        return {}  # not an LRU cache: a backward lowers in a thread of autograd's, beside those of other devices

    @cached_property
    def is_enumerated(self) -> bool:
        """Whether the entries of lists, or of a boolean table, say which tiles there are: they cost little to find."""
        return self.skips and membership.is_enumerated(self.layout)

    @property
    def has_known_tiles(self) -> bool:
        """Whether its tiles cost little to find: key ranges, entries, or the values of sides say which there are."""
        return self.residual is None or self.layout.sides is not None or self.is_enumerated

    @cached_property
    def hull(self) -> Tiles:
        """Runs that cover the key ranges, whatever the residual; the tiles where these cost little to find."""
        if self.residual is not None and self.has_known_tiles:
            return self.tiles
        return tiles.from_key_ranges(self.key_ranges, self.block_m, self.block_n)

    @cached_property
    def tiles(self) -> Tiles:
        """Runs of PARTIAL and FULL tiles."""
        if not self.skips:
            return tiles.all_partial(self.rows.size, self.cols.size, self.block_m, self.block_n)
        if self.residual is None:
            return self.hull
        return membership.tiles(self.layout, self.q_offset, self.block_m, self.block_n)

    @cached_property
    def nnz(self) -> int:
        """Exact number of pairs."""
        by_diagonals = diagonals.count(self.predicate, self.rows.length, self.cols.length, self.q_offset)
        if by_diagonals is not None:
            return by_diagonals
        if self.residual is None:
            return self.key_ranges.nnz
        if self.is_enumerated and not self.tiles.num_partial:
            return self.tiles.full_pairs
        shape = Shape(self.rows.length, self.cols.length, self.q_offset)
        by_residues = counts.count(self.predicate, shape, self.key_ranges.nnz)
        return membership.count(self.layout, self.q_offset, self.tiles) if by_residues is None else by_residues

    @property
    def is_looked_at(self) -> bool:
        """Whether counting its pairs takes a look at some: at a period of them, or at those of its PARTIAL tiles."""
        return self.residual is not None and not self.is_enumerated and not diagonals.applies(self.predicate)


@dataclass(frozen=True, eq=False)
class Alternative:
    """One way to run a predicate: disjoint passes and their predicted time in seconds.

    `note` says why there is no other way, where the predicate was too much to take apart.
    """

    name: str
    passes: tuple[Pass, ...]
    seconds: float
    note: str = ""


@dataclass(frozen=True, eq=False)
class Group:
    """Heads and batch entries that share a predicate (None: all of them), and the passes that compute it.

    The group covers every batch entry in `batches` with every head in `heads`. The first of `alternatives` is the one
    that runs: the cheapest by prediction, unless another was preferred.
    """

    batches: tuple[int, ...] | None
    heads: tuple[int, ...] | None
    alternatives: tuple[Alternative, ...]

    @property
    def passes(self) -> tuple[Pass, ...]:
        """Disjoint passes; empty where no pair is connected."""
        return self.alternatives[0].passes

    @cached_property
    def nnz(self) -> int:
        """Exact number of pairs of one head of one batch entry, counted in the layouts that count fastest."""
        way = self.alternatives[0]
        if any(work.is_looked_at for work in way.passes):
            way = min(self.alternatives, key=lambda each: sum(work.is_looked_at for work in each.passes))
        return sum(work.nnz for work in way.passes)

    def in_pages(self, pages: Pages, entry: int) -> Group:
        """Return the group of a single batch entry, whose passes read keys in its pages."""
        ways = (
            replace(way, passes=tuple(replace(work, pages=(pages, entry)) for work in way.passes))
            for way in self.alternatives
        )
        return Group((entry,), self.heads, tuple(ways))

    def preferring(self, way: str) -> Group:
        """Return the group that runs the alternative of this name, if it has one."""
        return replace(self, alternatives=tuple(sorted(self.alternatives, key=lambda each: each.name != way)))

    @property
    def simplest(self) -> Alternative:
        """The alternative with the fewest passes that evaluate a residual; of these one that skips what it can."""

        def looks(way: Alternative) -> tuple[int, int]:
            return sum(work.residual is not None for work in way.passes), sum(not work.skips for work in way.passes)

        return min(self.alternatives, key=looks)
