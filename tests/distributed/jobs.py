"""What the ranks of a test's world do: each compares its rows with attention on one process."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import by_hand
import numpy as np
import torch
import torch.distributed as dist

import attncc
from attncc.backends.inputs import Inputs
from attncc.distributed import traffic
from attncc.distributed.forward import Run
from attncc.distributed.inner import Inner
from attncc.distributed.lanes import localised
from attncc.distributed.run import attend
from attncc.distributed.schedule import Schedule
from attncc.distributed.tables import RankTables
from attncc.ir.score import IDENTITY
from attncc.scores import Score, as_score
from attncc.testing.oracle import Problem, Results, dense, differentiated

N = 61


@attncc.pattern
def global_tokens(i, j, *, window: int, count: int):
    """A causal window, and tokens that see and are seen by all."""
    return ((i - j >= 0) & (i - j < window)) | (i < count) | (j < count)


@attncc.pattern
def random_blocks(i, j, *, block: int, table: attncc.Table):
    return (table[i // block, j // block] == 1) & (j <= i)


@attncc.pattern
def late(i, j, *, window: int, first: int):
    """A causal window on keys from `first` on, so that queries before it see nothing."""
    return (i - j >= 0) & (i - j < window) & (j >= first)


@attncc.pattern
def by_entry(i, j, b, *, window: int):
    return (i - j >= 0) & (i - j < window * (b + 1))


def patterns(n: int = N) -> dict[str, attncc.Pattern]:
    rng = np.random.default_rng(0)
    window = attncc.load("sliding_window", window=10)
    documents = attncc.load("document", ids=np.sort(rng.integers(0, 4, n))).causal()
    buckets = attncc.load("document", ids=rng.integers(0, 4, n)).causal()
    return {
        "causal": attncc.load("causal"),
        "full": attncc.load("full"),
        "window": window,
        "strided": attncc.load("strided", l=8),
        "fixed": attncc.load("fixed", l=16, c=3),
        "global": global_tokens(window=6, count=3),
        "blocks": random_blocks(block=8, table=rng.integers(0, 2, (-(-n // 8),) * 2)),
        "documents": documents,
        "buckets": buckets,
        "mix": attncc.per_head([window, attncc.load("strided", l=8), documents, buckets]),
        "entries": by_entry(window=5),
        "nothing for some": late(window=10, first=30),
        "nothing": late(window=10, first=n),
    }


@attncc.score
def biased(score, i, j, h, *, slopes: attncc.Weights):
    return score + slopes[h] * (j - i)


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


def rows_of(results: Results, rows: torch.Tensor) -> Results:
    parts = {name: x[:, :, rows] for name, x in results.items() if not name.startswith("d_weights")}
    return Results(**parts, d_weights=results.d_weights)


def one_process(pattern: attncc.Pattern, problem: Problem, score: Score) -> Results:
    leaves = problem.leaves()
    options = {"scale": problem.scale, "enable_gqa": True, "return_lse": True}
    moved = score.on(leaves[3:]) if score.weights else None
    out, lse = attncc.attention(*leaves[:3], pattern, score=moved, **options)
    return differentiated(out, lse, leaves, problem)


def oracle(pattern: attncc.Pattern, problem: Problem) -> Results:
    batch, heads, n, _ = problem.query.shape
    return dense(problem.to(torch.float64), by_hand.whole_mask(pattern, n, heads, batch))


def local(problem: Problem, rows: torch.Tensor) -> Problem:
    parts = (problem.query, problem.key, problem.value, problem.grad_out, problem.grad_lse)
    return Problem(*(x[:, :, rows] for x in parts), problem.scale, problem.weights)


def compare(found: Results, wanted: Results, tolerance: float) -> None:
    for (name, x), (_, y) in zip(found.items(), wanted.items(), strict=True):
        if name.startswith("d_weights"):  # sums over all pairs, whose terms nearly cancel
            tolerance *= 10
        torch.testing.assert_close(
            x.double(), y.double(), rtol=tolerance, atol=tolerance, msg=lambda text, name=name: f"{name}: {text}"
        )


def by_hand_case(
    name: str,
    kind: str,
    style: str,
    route: str,
    rounds: int,
    options: dict[str, Any],
) -> list[int]:
    """Run a schedule made by hand; return how many lanes, pushed units and relays it has."""
    ranks = dist.get_world_size()
    heads, kv_heads, batch = options.get("heads", 2), options.get("kv_heads", 2), options.get("batch", 1)
    n, size, seed = options.get("n", N), options.get("size", 8), options.get("seed", 0)
    dtype = getattr(torch, options.get("dtype", "float32"))
    pattern = patterns(n)[name]
    parts = by_hand.partition(kind, n, size, ranks, seed)
    sizes = {"heads": heads, "kv_heads": kv_heads, "batch": batch}
    schedule = by_hand.schedule(pattern, parts, **sizes, style=style, route=route, rounds=rounds, seed=seed)
    problem = Problem.drawn(n, n, **sizes, head_dim=8, value_dim=options.get("value_dim", 8), dtype=dtype, seed=seed)
    score = as_score(None)
    if options.get("score"):
        score = biased(slopes=torch.linspace(0.1, 0.5, heads))
        problem = problem.with_weights(score.tensors)
    check(pattern, schedule, problem, score, options.get("repeats", 1))
    lanes = localised(schedule, range(batch), range(kv_heads)).lanes
    owner = parts.owner
    relays = sum(int((lane.keys.source != owner[lane.keys.unit]).sum()) for lane in lanes)
    return [len(lanes), sum(len(lane.queries) for lane in lanes), relays]


def check(pattern: attncc.Pattern, schedule: Schedule, problem: Problem, score: Score, repeats: int) -> None:
    ranks, rank = dist.get_world_size(), dist.get_rank()
    rows = torch.from_numpy(schedule.partition.tokens(rank))
    batch, kv_heads = problem.key.shape[:2]
    own = localised(schedule, range(batch), range(kv_heads))
    expression = score.expression if score.weights else IDENTITY
    inner = Inner(pattern, expression, schedule.partition.cut.length, "", "")
    run = Run.of(RankTables.of(own, rank), inner, dist.group.WORLD)
    inputs = Inputs.of(problem.query, problem.key, problem.value)
    for _ in range(repeats):
        mine = local(problem, rows)
        leaves = mine.leaves()
        with counted() as forward:
            out, lse = attend(run, *leaves[:3], leaves[3:], problem.scale)
        assert forward == sent(traffic.forward(schedule, inputs), ranks, rank), "bytes of the forward"
        with counted() as backward:
            found = differentiated(out, lse, leaves, mine)
        assert backward == sent(traffic.backward(schedule, inputs), ranks, rank), "bytes of the backward"
    for total in found.d_weights:
        dist.all_reduce(total)
    wanted = one_process(pattern, problem, score)
    if problem.query.dtype == torch.float32:
        compare(found, rows_of(wanted, rows), 1e-5)
    else:
        exact = rows_of(oracle(pattern, problem), rows)
        compare(found, exact, 3e-2)
