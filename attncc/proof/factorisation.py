"""Factorisation: information reaches every query from every earlier position through the subsets in turn.

Child et al. (2019), section 4.2, require for p subsets that each j <= i has a path of at most p + 1 locations
(j, a, b, ..., i) with j in A_a^(1), a in A_b^(2) and so on. A step may be left out, since the residual connection
carries a position's own state past a layer: that is what "at most" allows. The subsets may be taken in any one
order, the same for all pairs of a head.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from attncc.frontend.patterns import Pattern
from attncc.ir.normal import digest
from attncc.ir.predicate import Predicate
from attncc.ir.symbols import B, H
from attncc.planner.checks import check
from attncc.planner.shape import Shape
from attncc.planner.specialise import specialise
from attncc.proof.finding import Finding, named, place
from attncc.proof.paths import Paths, TooLargeError
from attncc.proof.period import period

NAME = "factorisation"
#: The subset that each step takes.
Order = tuple[int, ...]


@dataclass(frozen=True)
class _Member:
    """The subsets of one head of one batch entry, and which one it is."""

    where: Mapping[str, object]
    subsets: tuple[Predicate, ...]

    def in_order(self, order: Order) -> list[Predicate]:
        return [self.subsets[m] for m in order]


def prove(pattern: Pattern, shape: Shape) -> Finding:
    """Decide whether some order of the subsets connects every j <= i; the counterexample is a pair for each order.

    The graph has a node for each location after each step, and only those that paths from the sources reach. For
    causal subsets that repeat every T positions the sources of one period decide for all. Undecided (holds is
    None) where that graph is too large and no head or batch entry is refuted.
    """
    for subset in pattern.subsets:
        check(subset, shape)
    findings = [_decide(member, shape) for member in _members(pattern, shape)]
    worst = min(findings, key=lambda finding: (False, None, True).index(finding.holds))
    if worst.holds and len(findings) > 1:
        return replace(worst, detail=f"{worst.detail}; other heads or batch entries too, each in some order")
    return worst


def _members(pattern: Pattern, shape: Shape) -> list[_Member]:
    """Return the subsets of every head and batch entry that has subsets of its own."""
    free = frozenset().union(*(subset.free for subset in pattern.subsets))
    members: dict[tuple[str, ...], _Member] = {}
    own = shape.narrowed(free)
    for b, h in itertools.product(range(own.batch), range(own.heads)):
        subsets = tuple(specialise(subset, shape, b, h) for subset in pattern.subsets)
        where = place(b if B in free else None, h if H in free else None)
        members.setdefault(tuple(map(digest, subsets)), _Member(where, subsets))
    return list(members.values())


def _decide(member: _Member, shape: Shape) -> Finding:
    """Try the orders until one connects all pairs; else refute all of them, or leave it open."""
    sources = np.arange(period(member.subsets, shape))
    failed: dict[Order, list[int]] = {}
    too_large: TooLargeError | None = None
    for order in itertools.permutations(range(len(member.subsets))):
        try:
            missing = Paths(member.in_order(order), sources, shape.q_len).unconnected()
        except TooLargeError as error:
            too_large = error
            continue
        if not any(missing):
            return _proved(member, order, shape.q_len)
        failed[order] = missing
    return _undecided(member, too_large) if too_large else _refuted(member, failed, shape.q_len)


def _proved(member: _Member, order: Order, length: int) -> Finding:
    detail = f"every j <= i has a path of at most {len(order) + 1} locations, by {_listed(order)} in turn"
    if length > 1:
        farthest = Paths(member.in_order(order), np.arange(1), length).path(length - 1)
        detail += f", for example {_arrows(farthest)}"
    return Finding(NAME, True, detail)


def _undecided(member: _Member, reason: TooLargeError) -> Finding:
    detail = f"the graph that decides it{named(member.where)} has {reason} at this length; ask for a shorter one"
    return Finding(NAME, None, detail)


def _refuted(member: _Member, failed: Mapping[Order, Sequence[int]], length: int) -> Finding:
    """Name a pair that no order connects if there is one, and otherwise a pair for each order."""
    common = [_all_bits(masks) for masks in zip(*failed.values(), strict=True)]
    pairs = {order: _first(common) or _first(missing) for order, missing in failed.items()}
    order, (source, target) = next((order, pair) for order, pair in pairs.items() if pair)
    paths = Paths(member.in_order(order), np.array([source]), length)
    reached = paths.reached()
    nearest = paths.path(min(reached[-1], key=lambda x: (abs(x - target), x)))
    data = {
        "j": source,
        "i": target,
        "order": [m + 1 for m in order],
        "reached": reached,
        "nearest_path": nearest,
        "orders": [{"order": [m + 1 for m in o], "j": p[0], "i": p[1]} for o, p in pairs.items() if p],
        **member.where,
    }
    ending = f"the nearest that it comes is {_arrows(nearest)}"
    if any(common):
        detail = f"no path from {source} to {target}{named(member.where)} in any order; {ending}"
    else:
        gaps = "; ".join(f"{_listed(o)} leave out {p[0]} → {p[1]}" for o, p in pairs.items() if p)
        detail = f"no order connects every pair{named(member.where)}: {gaps}"
    return Finding(NAME, False, detail, data)


def _all_bits(masks: Sequence[int]) -> int:
    both = masks[0]
    for mask in masks[1:]:
        both &= mask
    return both


def _first(missing: Sequence[int]) -> tuple[int, int] | None:
    """Return the first source and its first target among unconnected pairs, whose sources are 0, 1, ..."""
    lowest = [((mask & -mask).bit_length() - 1, target) for target, mask in enumerate(missing) if mask]
    return min(lowest, default=None)


def _listed(order: Order) -> str:
    return ", ".join(f"A({m + 1})" for m in order)


def _arrows(path: Sequence[int]) -> str:
    return " → ".join(map(str, path))
