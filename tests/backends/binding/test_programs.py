"""The bare programs wait for nothing, and have shapes that depend on lengths alone; their tiles are proved."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from table_patterns import PATTERNS
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._python_dispatch import TorchDispatchMode
from unread import unread

import attncc
from attncc.backends.binding import programs
from attncc.backends.binding.programs import DeviceBinding, layout_program, work_program
from attncc.frontend.patterns import Pattern
from attncc.ir.evaluate import evaluate_predicate
from attncc.ir.symbols import B, H, I, J
from attncc.planner.preparation import PreparedPattern, kinds_of, prepare
from attncc.planner.shape import Shape

BLOCKS = (16, 8)
#: Operators that wait for the device, or whose results have sizes that depend on values.
WAITING = ("_local_scalar_dense", "nonzero", "item", "masked_select", "_unique", "unique_", "bincount", "is_nonzero")


class NothingWaits(TorchDispatchMode):
    """Refuse operators that wait, and results on another device than the tables'."""

    def __init__(self, device: str) -> None:
        super().__init__()
        self.device = device

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function.__name__.partition(".")[0]
        assert not name.startswith(WAITING), f"{name} waits for the device"
        found = function(*args, **(kwargs or {}))
        results = found if isinstance(found, tuple | list) else [found]
        assert all(x.device.type == self.device for x in results if isinstance(x, Tensor)), f"{name} leaves the device"
        return found


def prepared(pattern: Pattern, length: int, **sizes: int) -> PreparedPattern:
    shape = Shape.of(length, heads=2, batch=2, **sizes).narrowed(pattern.free)
    return prepare(pattern.template.predicate, kinds_of(pattern), shape)


def program(made: PreparedPattern, symbols: list[Any]) -> Any:
    """Return the function from tables to all that the kernels of all passes read."""

    def run(*tensors: Tensor) -> list[Tensor]:
        tables = {made.symbols[symbol]: x for symbol, x in zip(symbols, tensors, strict=True)}
        found = []
        for group in made.groups:
            for work in group.passes:
                layout = layout_program(group, work, made.shape, tables)
                found += [x for x in layout if x is not None]
                for by_keys in (False, True):
                    found += work_program(group, work, made.shape, tables, layout, *BLOCKS, by_keys)
        return found

    return run


def drawn(name: str, length: int, seed: int = 0) -> tuple[PreparedPattern, Any, list[Tensor]]:
    """Return a pattern of PATTERNS, prepared, its program and its tables."""
    return bound(PATTERNS[name](np.random.default_rng(seed), length), length)


def bound(given: Pattern, length: int) -> tuple[PreparedPattern, Any, list[Tensor]]:
    """Return a pattern, prepared, its program and its tables, unread."""
    pattern = unread(given)
    made = prepared(pattern, length)
    symbols = list(pattern.bound)
    return made, program(made, symbols), [pattern.bound[symbol].tensor for symbol in symbols]


@pytest.mark.parametrize("name", PATTERNS)
def test_programs_run_on_fake_tensors_and_stay_on_their_device(name: str) -> None:
    _, run, tables = drawn(name, 75)
    with FakeTensorMode(), NothingWaits("cpu"):
        fake = run(*(torch.empty(x.shape, dtype=x.dtype) for x in tables))
    with NothingWaits("meta"):
        there = run(*(torch.empty(x.shape, dtype=x.dtype, device="meta") for x in tables))
    sizes = [x.shape for x in run(*tables)]
    assert [x.shape for x in fake] == [x.shape for x in there] == sizes


@pytest.mark.parametrize("name", ["ids of each head", "lists of each head"])
def test_each_member_has_aligned_arrays(name: str) -> None:
    made, _, tables = drawn(name, 75)
    binding = DeviceBinding(made.shape, dict(zip(made.symbols.values(), tables, strict=True)))
    for group in made.groups:
        for work in group.passes:
            found = [*binding.arrays(group, work).values(), *binding.work_list(group, work, *BLOCKS, False)]
            assert all(x[member].data_ptr() % 16 == 0 for x in found for member in range(len(group.members)))


def test_operators_that_wait_are_refused() -> None:
    with NothingWaits("cpu"), pytest.raises(AssertionError, match="nonzero waits"):
        torch.ones(4).nonzero()
    with NothingWaits("cpu"), pytest.raises(AssertionError, match="waits"):
        torch.ones(1).item()
    with NothingWaits("meta"), pytest.raises(AssertionError, match="leaves"):
        torch.empty(4, device="meta") + torch.ones(4).sum()


#: Operators that were compiled in this process: a graph of these alone compiles as those before it did.
COMPILED: set[Any] = set()


@pytest.mark.parametrize("name", PATTERNS)
def test_graphs_of_programs_compile_whole_and_serve_other_tables(name: str) -> None:
    _, run, tables = drawn(name, 75)
    graph = make_fx(run, tracing_mode="fake")(*tables)
    operators = {node.target for node in graph.graph.nodes if node.op == "call_function"}
    if operators - COMPILED:
        graph = torch.compile(graph, fullgraph=True, backend="aot_eager")
    _, again, others = drawn(name, 75, seed=1)
    for one, other in zip(graph(*others), again(*others), strict=True):
        assert torch.equal(one, other)
    COMPILED.update(operators)


def pairs(made: PreparedPattern, tables: Any) -> list[tuple[Any, Any, np.ndarray]]:
    """Return each pass with its group and its pairs, bool (G, q_len, kv_len)."""
    found = []
    queries = torch.arange(made.shape.q_len)[None, :, None] + made.shape.q_offset
    keys = torch.arange(made.shape.kv_len)[None, None]
    for group in made.groups:
        batches, heads = (torch.tensor(own)[:, None, None] for own in group.indices)
        for work in group.passes:
            env = {I: queries, J: keys, B: batches, H: heads, **tables}
            size = len(group.members), made.shape.q_len, made.shape.kv_len
            found.append((group, work, torch.as_tensor(evaluate_predicate(work.predicate, env)).expand(size)))
    return found


def tiles_of(items: Tensor, runs: Tensor) -> dict[tuple[int, int], bool]:
    """Return whether a tile is full, by (tile, tile of the other axis), of a work list; no tile comes twice."""
    found: dict[tuple[int, int], bool] = {}
    for tile, full, partial, end in items.tolist():
        for number in range(full, end):
            for other in range(*runs[number].tolist()):
                assert (tile, other) not in found
                found[tile, other] = number < partial
    return found


@settings(max_examples=60)
@given(st.sampled_from(sorted(PATTERNS)), st.integers(1, 60), st.integers(0, 2**32), st.sampled_from([1 << 22, 0]))
def test_tiles_cover_all_pairs_and_full_ones_have_each(name: str, length: int, seed: int, most: int) -> None:
    made, _, tables = drawn(name, length, seed)
    assume(tables)  # a single document, of which numbers tell all
    programs.MOST_TILES, before = most, programs.MOST_TILES
    try:
        check_all_tiles(made, tables)
    finally:
        programs.MOST_TILES = before


def test_blocks_of_sequences_at_own_offsets_are_bound() -> None:
    """Offsets of 64 bits, unread: multiples of their quotients fit 64 bits, too."""
    made, _, tables = bound(attncc.Sequences([3, 40]).pattern(attncc.load("fixed", l=8, c=2)), 60)
    check_all_tiles(made, tables)


def check_all_tiles(made: PreparedPattern, tables: list[Tensor]) -> None:
    named = {made.symbols[symbol]: x.to(torch.int64) for symbol, x in zip(made.symbols, tables, strict=True)}
    for group, work, connected in pairs(made, named):
        layout = layout_program(group, work, made.shape, named)
        for by_keys in (False, True):
            listed = work_program(group, work, made.shape, named, layout, *BLOCKS, by_keys)
            for member in range(len(group.members)):
                check_tiles(listed, layout, member, connected[member], by_keys)


def check_tiles(listed: Any, layout: Any, member: int, connected: Tensor, by_keys: bool) -> None:
    rows, cols = (
        torch.arange(size) if order is None else order[member]
        for order, size in zip((layout.rows, layout.cols), connected.shape, strict=True)
    )
    assert torch.equal(rows.sort().values, torch.arange(len(rows)))
    assert torch.equal(cols.sort().values, torch.arange(len(cols)))
    laid_out = connected[rows][:, cols]
    slots = torch.arange(len(cols))
    within = (slots >= layout.start[member][:, None]) & (slots < layout.stop[member][:, None])
    assert not (laid_out & ~within).any(), "a pair lies outside of the key ranges"
    tiles = tiles_of(listed.items[member], listed.runs[member])
    for at in np.ndindex(*(-(-size // block) for size, block in zip(laid_out.shape, BLOCKS, strict=True))):
        part = laid_out[tuple(slice(t * b, (t + 1) * b) for t, b in zip(at, BLOCKS, strict=True))]
        full = tiles.get(at[::-1] if by_keys else at)
        assert full is not None or not part.any(), f"tile {at} has pairs"
        assert not full or part.all(), f"tile {at} is FULL and lacks pairs"
        whole = part.shape[0] == BLOCKS[0] if by_keys else part.shape[1] == BLOCKS[1]
        assert not full or whole, f"tile {at} is FULL and cut off"


def test_documents_have_full_tiles_and_visit_little_else() -> None:
    made, run, tables = drawn("documents", 600)
    *_, items, runs, by_keys_items, by_keys_runs = run(*tables)
    forward, backward = tiles_of(items[0], runs[0]), tiles_of(by_keys_items[0], by_keys_runs[0])
    assert {at[::-1] for at in backward} == forward.keys()
    useful = pairs(made, {made.symbols[s]: x for s, x in zip(made.symbols, tables, strict=True)})[0][2].sum()
    area = BLOCKS[0] * BLOCKS[1]
    assert len(forward) * area < 1.25 * useful
    assert sum(forward.values()) * area > 0.7 * useful
    assert sum(backward.values()) * area > 0.7 * useful


@pytest.mark.parametrize(
    "name", ["prefix tree", "block table", "lists", "lists of keys", "lists beside the own block", "global tokens"]
)
def test_residuals_leave_tiles_out(name: str) -> None:
    made, _, tables = drawn(name, 600)
    named = {made.symbols[symbol]: x.to(torch.int64) for symbol, x in zip(made.symbols, tables, strict=True)}
    for group, work, connected in pairs(made, named):
        layout = layout_program(group, work, made.shape, named)
        laid_out = connected[0] if layout.rows is None else connected[0][layout.rows[0]]
        laid_out = laid_out if layout.cols is None else laid_out[:, layout.cols[0]]
        some = sum(bool(laid_out[16 * t : 16 * t + 16, 8 * k : 8 * k + 8].any()) for t in range(38) for k in range(75))
        listed = work_program(group, work, made.shape, named, layout, *BLOCKS, False)
        assert len(tiles_of(listed.items[0], listed.runs[0])) <= 1.5 * some + 40
