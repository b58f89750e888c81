"""Checks of a pattern against its dense mask: the plan's counts and tiles, attention's outputs and gradients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from attncc.backends.reference.mask import as_broadcast, dense_mask
from attncc.frontend.accepted import AnyPattern, accepted_pattern
from attncc.frontend.patterns import Pattern
from attncc.frontend.scores import Score
from attncc.ir.evaluate import evaluate_predicate
from attncc.ir.symbols import I, J
from attncc.ir.tables import Array
from attncc.planner.passes import Group, Pass
from attncc.planner.plan import Plan
from attncc.planner.search import plan
from attncc.planner.tiles import EMPTY, FULL
from attncc.runtime.api import compile
from attncc.testing.oracle import Formula, Problem, dense, differentiated

#: Lengths at which a tile is cut off, whole, or alone.
LENGTHS = (1, 2, 63, 64, 129)


def check_pattern(
    pattern: AnyPattern,
    *,
    lengths: Sequence[int] = LENGTHS,
    heads: int = 2,
    batch: int = 2,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Check a pattern at several lengths: counts, tiles, outputs, lse and gradients against dense attention.

    A plugin's test is one call of this. Raises AssertionError that says what differs, where.
    """
    chosen = accepted_pattern(pattern)
    for length in lengths:
        mask = dense_mask(chosen, length, heads=heads, batch=batch)
        check_plan(plan(chosen, length, heads=heads, batch=batch, tile=(64, 64)), mask.numpy())
        problem = Problem.drawn(length, length, batch=batch, heads=heads, kv_heads=heads, dtype=dtype)
        check_attention(chosen, as_broadcast(mask, chosen), problem)


def check_plan(made: Plan, mask: Array) -> None:
    """Check a plan against a dense mask, (q_len, kv_len) with B and H in front where the pattern depends on them."""
    where = f"{made.pattern!r} at {made.shape}"
    assert made.mask_shape == mask.shape, f"{where}: mask shape {made.mask_shape}, wanted {mask.shape}"
    assert made.nnz == mask.sum(), f"{where}: nnz {made.nnz}, but the mask has {mask.sum()}"
    covered = 0
    for group in made.groups:
        wanted = _members(group, mask)
        covered += len(wanted)
        for way in group.alternatives:
            passes = [_dense(work, made) for work in way.passes]
            total = np.zeros(mask.shape[-2:], np.int64) + sum(part.astype(np.int64) for part in passes)
            assert all(np.array_equal(total, one) for one in wanted), f"{where}: {way.name} covers other pairs"
            for work, part in zip(way.passes, passes, strict=True):
                _check_pass(work, part, f"{where}, {way.name}, pass {work.predicate}")
    leading = int(np.prod(mask.shape[:-2], dtype=np.int64))
    assert covered == leading, f"{where}: groups cover {covered} of {leading} heads"


def check_attention(
    pattern: Pattern,
    mask: Tensor,
    problem: Problem,
    *,
    score: Score | None = None,
    formula: Formula | None = None,
    q_offset: int = 0,
    backend: str | None = None,
    config: Mapping[str, object] | None = None,
) -> None:
    """Check attention and its gradients; `mask` broadcasts to (B, Hq, Nq, Nk).

    `formula` is what `score` must do, written in torch; the problem holds the values of the score's weights.
    The error is at most twice that of dense attention in the same dtype, plus a few roundings of that dtype.
    """
    leaves, mask = problem.leaves(), mask.to(problem.query.device)
    chosen = None if score is None else score.on(leaves[3:])
    run = compile(
        pattern,
        score=chosen,
        scale=problem.scale,
        enable_gqa=True,
        q_offset=q_offset,
        return_lse=True,
        backend=backend,
        config=config,
    )
    out, lse = run(*leaves[:3])
    results = differentiated(out, lse, leaves, problem)
    exact, plain = (dense(x, mask, formula).items() for x in (problem.to(torch.float64), problem))
    sizes = f"query {tuple(problem.query.shape)}, key {tuple(problem.key.shape)}, {problem.query.dtype}"
    where = f"{pattern!r}, {sizes}, q_offset {q_offset}" + (f", score {score.expression}" if score else "")
    for (name, value), (_, wanted), (_, yardstick) in zip(results.items(), exact, plain, strict=True):
        # Roundings of sums over rows add up as a random walk does. Dense attention may have none: the softmax of
        # a single key is exactly 1.
        sums = ("d_key", "d_value", "d_weights")
        roundings = lse.numel() ** 0.5 if name.startswith(sums) else 1.0
        _check_close(name, value, wanted, yardstick, roundings, where)


def _members(group: Group, mask: Array) -> list[Array]:
    """Return the dense masks of the heads and batch entries that share a group."""
    picked = mask if group.batches is None else mask[list(group.batches)]
    if group.heads is not None:
        picked = picked[..., list(group.heads), :, :]
    return list(picked.reshape(int(np.prod(picked.shape[:-2], dtype=np.int64)), *mask.shape[-2:]))


def _dense(work: Pass, made: Plan) -> Array:
    """Return the pairs of a pass, bool (q_len, kv_len)."""
    shape = made.shape
    env = {I: np.arange(shape.q_len)[:, None] + shape.q_offset, J: np.arange(shape.kv_len)[None, :]}
    return np.array(np.broadcast_to(evaluate_predicate(work.predicate, env), (shape.q_len, shape.kv_len)))


def _check_pass(work: Pass, part: Array, where: str) -> None:
    """Check that the layout holds every pair, and that EMPTY and FULL tiles are what they say."""
    laid_out = part[work.rows.places][:, work.cols.places]
    assert laid_out.sum() == part.sum() == work.nnz, f"{where}: {work.nnz} pairs, the layout {laid_out.sum()}"
    classes = work.tiles.classify()
    for tile in np.ndindex(classes.shape):
        rows, cols = (slice(t * b, (t + 1) * b) for t, b in zip(tile, (work.block_m, work.block_n), strict=True))
        pairs = laid_out[rows, cols]
        assert classes[tile] != EMPTY or not pairs.any(), f"{where}: tile {tile} is EMPTY and has pairs"
        assert classes[tile] != FULL or pairs.all(), f"{where}: tile {tile} is FULL and lacks pairs"


def _check_close(name: str, actual: Tensor, wanted: Tensor, yardstick: Tensor, roundings: float, where: str) -> None:
    empty = wanted == -torch.inf
    assert torch.equal(actual == -torch.inf, empty), f"{where}: {name} is -inf in other places than the oracle's"
    assert not actual.isnan().any(), f"{where}: {name} has NaN"
    error, allowance = ((x.double() - wanted).masked_fill(empty, 0.0).abs() for x in (actual, yardstick))
    if not error.numel():
        return
    size = float(wanted.masked_fill(empty, 0.0).abs().max())
    rounded = 2 if actual.dtype == wanted.dtype else 1  # the oracle is rounded as often where it has no more digits
    floor = 16 * rounded * roundings * torch.finfo(actual.dtype).eps * max(1.0, size)
    limit = 2 * float(allowance.max()) + floor
    assert float(error.max()) <= limit, f"{where}: {name} is off by {float(error.max()):.2e}, allowed {limit:.2e}"
