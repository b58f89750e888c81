"""Loops of a kernel, from its control flow: natural loops of the dominator tree (Aho, Lam, Sethi, Ullman, 9.6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import networkx as nx

from attncc.machine_code.instructions import Instruction, Mix, OpKind, mix


@dataclass(frozen=True)
class Loop:
    """A loop: its instructions in the order of their addresses, the first of its header at `start`.

    Arms of a branch and waits that are laid out elsewhere belong to it; each instruction is there once.
    """

    start: int
    instructions: tuple[Instruction, ...]

    @property
    def mix(self) -> Mix:
        """Its instructions by kind."""
        return mix(self.instructions)


def main_loops(instructions: Sequence[Instruction]) -> list[Loop]:
    """Return the innermost loops that do a kernel's work, in the order of the code.

    They hold matrix products; where a kernel has none in any loop (float32 without matrix units, merging of parts),
    exponentials.
    """
    loops = _natural_loops(instructions)
    for kind in (OpKind.TENSOR, OpKind.SPECIAL):
        working = [loop for loop in loops if any(i.kind is kind for i in loop.instructions)]
        if working:
            return [loop for loop in working if not any(_within(other, loop) for other in working)]
    return []


def full_and_partial(loops: Sequence[Loop]) -> tuple[Loop | None, Loop | None]:
    """Return the loop over full runs and the loop over partial runs.

    Of two, the partial one compares and selects more. A single one is partial if it compares and selects at least half
    as often as it exponentiates: a masked score is compared, selected and exponentiated once. Of more there is no
    telling.
    """
    match list(loops):
        case [first, second]:
            full, partial = sorted((first, second), key=lambda loop: loop.mix.predicate)
            return full, partial
        case [only]:
            counted = only.mix
            scores = max(1, counted.count(OpKind.SPECIAL))
            masked = all(2 * counted.count(kind) >= scores for kind in (OpKind.COMPARE, OpKind.SELECT))
            return (None, only) if masked else (only, None)
        case _:
            return None, None


def mixes(instructions: Sequence[Instruction]) -> tuple[Mix, Mix] | None:
    """Return the instructions of the loops over full and over partial runs, or None if there are no loops.

    Where there is no telling which is which, they are those that compare and select the least and the most.
    """
    loops = main_loops(instructions)
    if not loops:
        return None
    full, partial = full_and_partial(loops)
    ordered = sorted((loop.mix for loop in loops), key=lambda each: each.predicate)
    return full.mix if full else ordered[0], partial.mix if partial else ordered[-1]


def _natural_loops(instructions: Sequence[Instruction]) -> list[Loop]:
    if not instructions:
        return []
    flow = _flow(instructions)
    dominators = nx.immediate_dominators(flow, instructions[0].address)
    bodies: dict[int, set[int]] = {}
    for source, header in flow.edges:
        entered_twice = flow.in_degree(header) > (header != instructions[0].address)  # from before it, and its end
        if entered_twice and source in dominators and _dominates(dominators, header, source):
            bodies.setdefault(header, {header}).update(_reaching(flow, source, header))
    return [
        Loop(header, tuple(i for i in instructions if i.address in body)) for header, body in sorted(bodies.items())
    ]


def _flow(instructions: Sequence[Instruction]) -> nx.DiGraph:
    """Return the control flow between instructions."""
    flow = nx.DiGraph()
    flow.add_node(instructions[0].address)
    addresses = {i.address for i in instructions}
    for at, following in zip(instructions, [*instructions[1:], None], strict=True):
        if at.target in addresses:
            flow.add_edge(at.address, at.target)
        if at.goes_on and following is not None:
            flow.add_edge(at.address, following.address)
    return flow


def _dominates(dominators: dict[int, int | None], header: int, node: int) -> bool:
    """Return whether every way to `node` leads through `header`."""
    step: int | None = node
    while step is not None and step != header:
        above = dominators.get(step)  # networkx leaves the first instruction out, or has it above itself
        step = None if above == step else above
    return step == header


def _reaching(flow: nx.DiGraph, source: int, header: int) -> set[int]:
    """Return the header, and the instructions from which `source` is reached without passing it."""
    if source == header:
        return {header}
    without = nx.subgraph_view(flow, filter_node=lambda node: node != header)
    return {header, source, *nx.ancestors(without, source)}


def _within(inner: Loop, outer: Loop) -> bool:
    return inner.start != outer.start and set(inner.instructions) < set(outer.instructions)
