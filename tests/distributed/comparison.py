"""Comparison of a rank's results and messages with one process, the oracle and the plan."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import by_hand
import numpy as np
import torch
import torch.distributed as dist
from cases import biased_formula

import attncc
from attncc.distributed.execution.communicators import DIMS
from attncc.distributed.schedules import traffic
from attncc.distributed.schedules.sharing import steps
from attncc.frontend.scores import Score, as_score
from attncc.testing.oracle import Problem, Results, dense, differentiated


@contextlib.contextmanager
def counted() -> Iterator[list[int]]:
    """Yield the bytes that this rank sends, one entry an exchange."""
    counts: list[int] = []
    original = dist.all_to_all_single

    def counting(output: Any, given: Any, to: Any = None, back: Any = None, **options: Any) -> Any:
        assert sum(back) == given.numel() * given.element_size()
        assert sum(to) == output.numel() * output.element_size()
        counts.append(sum(back))
        return original(output, given, to, back, **options)

    dist.all_to_all_single = counting
    try:
        yield counts
    finally:
        dist.all_to_all_single = original


def sent(flows: list[traffic.Flow], ranks: int, rank: int) -> list[int]:
    return [int(flow.sent(ranks)[rank]) for flow in flows if flow.total]


def one_process(pattern: attncc.Pattern, problem: Problem, score: Score) -> Results:
    leaves = problem.leaves()
    options = {"scale": problem.scale, "enable_gqa": True, "return_lse": True}
    moved = score.on(leaves[3:]) if score.weights else None
    out, lse = attncc.attention(*leaves[:3], pattern, score=moved, **options)
    return differentiated(out, lse, leaves, problem)


def oracle(pattern: attncc.Pattern, problem: Problem) -> Results:
    """Return what the pattern, and the score `biased` if the problem has weights, make of it in float64."""
    batch, heads, n, _ = problem.query.shape
    formula = biased_formula if problem.weights else None
    return dense(problem.to(torch.float64), by_hand.whole_mask(pattern, n, heads, batch), formula)


def local(problem: Problem, rows: torch.Tensor) -> Problem:
    parts = (problem.query, problem.key, problem.value, problem.grad_out, problem.grad_lse)
    return Problem(*(x[:, :, rows] for x in parts), problem.scale, problem.weights)


def compare(
    found: Results,
    own: Callable[[torch.Tensor], torch.Tensor],
    pattern: attncc.Pattern,
    problem: Problem,
    score: Score | None = None,
) -> None:
    """Check a rank's results, `own` of the whole: off by at most twice what one process is, and a rounding.

    Relative to the largest entry, a rounding is the dtype's, and that of scores and lse, whose difference goes to exp.
    """
    exact, alone = oracle(pattern, problem), one_process(pattern, problem, score or as_score(None))
    of_scores = torch.finfo(found.lse.dtype).eps * float(exact.lse.where(~exact.lse.isneginf(), 0.0).abs().max())
    for (name, x), (_, wanted), (_, yardstick) in zip(found.items(), exact.items(), alone.items(), strict=True):
        of_weights = name.startswith("d_weights")  # sums over all pairs, whose roundings accumulate as a random walk
        mine = wanted if of_weights else own(wanted)
        assert torch.equal(x.isneginf(), mine.isneginf()), f"{name} is -inf in other rows"
        error, allowance = _worst(x, mine), _worst(yardstick, wanted)
        rounding = (torch.finfo(x.dtype).eps + of_scores) * max(1.0, _worst(wanted, torch.zeros_like(wanted)))
        limit = 2 * allowance + rounding * (exact.lse.numel() ** 0.5 if of_weights else 1.0)
        assert error <= limit, f"{name} is off by {error:.2e}, allowed {limit:.2e}; one process by {allowance:.2e}"


def _worst(x: torch.Tensor, wanted: torch.Tensor) -> float:
    """Return the largest difference, NaN where there is one; of no rows 0."""
    difference = (x.double() - wanted).masked_fill(wanted.isneginf(), 0.0).abs()
    return float(difference.max()) if difference.numel() else 0.0


def check_bytes(op: Any, forward: list[int], backward: list[int]) -> None:
    """Compare what this rank has sent with the plan of all ranks of its mesh, to the byte.

    Where it sends nothing, it may be in a round of others or not.
    """
    sizes, at = [op.mesh.size(dim) for dim in DIMS], [op.mesh.shard(dim) for dim in DIMS]
    sharing = replace(op.sharing, batch=sizes[0], heads=sizes[1])
    rows = [max(4, op.inputs.itemsize) * wanted for wanted in (op.call.return_lse, op.call.return_max_scores)]
    rank, ranks = int(np.ravel_multi_index(at, sizes)), int(np.prod(sizes))
    given = zip((forward, backward), ("forward", "backward"), op.flows(), strict=True)
    for counts, direction, folded in given:
        flows = [step.flow for step in steps(op.schedule, op.inputs, sharing, direction, *rows)]
        assert [flow.total for flow in flows] == [flow.total for flow in folded]
        planned = sent(flows, ranks, rank)
        if op.sharing.ulysses_degree == 1 and len(op.mesh.sizes) == 1:
            assert counts == planned
        assert [count for count in counts if count] == [count for count in planned if count]


def refused(call: Any, *words: str, error: type[Exception] = attncc.DistributedError) -> None:
    """Check that a call is refused before any exchange, and that ranks can still communicate."""
    with counted() as bytes_sent:
        try:
            call()
        except error as raised:
            text = str(raised)
            assert all(word in text for word in words), text
        else:
            raise AssertionError("nothing was refused")
    assert not bytes_sent
    total = torch.ones(1)
    dist.all_reduce(total)
    assert int(total) == dist.get_world_size()
