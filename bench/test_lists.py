"""Memberships: block lists and block layouts on a CPU, compared with dense attention, and their planning."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from test_attention import CPU, forward, forward_backward, in_turns, spread, tensors
from torch.nn.functional import scaled_dot_product_attention

import attncc
from attncc import Condition, Index, Lists, Table
from attncc.measure.timing import Timing, elapsed
from attncc.planner.plan import Plan

BLOCK, LENGTH = 64, 4096


@attncc.pattern
def laid_out(i: Index, j: Index, *, layout: Table) -> Condition:
    return layout[i // BLOCK, j // BLOCK]


@attncc.pattern
def listed(i: Index, j: Index, *, blocks: Lists) -> Condition:
    return (j // BLOCK).isin(blocks[i // BLOCK])


def deepspeed_bigbird() -> attncc.Pattern:
    """DeepSpeed's BigBird layout with one random and one global block and a window of three: density 1/11."""
    blocks = LENGTH // BLOCK
    number = np.arange(blocks)
    layout = abs(number[:, None] - number) <= 1
    layout[number, np.random.default_rng(0).integers(0, blocks, blocks)] = True
    layout[0], layout[:, 0] = True, True
    return laid_out(layout=layout)


def top(length: int, size: int) -> attncc.Pattern:
    """Every block of queries sees `size` blocks of keys, drawn without replacement."""
    blocks = length // BLOCK
    draw = np.random.default_rng(0)
    return listed(blocks=np.array([draw.choice(blocks, size, replace=False) for _ in range(blocks)]))


CASES = {
    "DeepSpeed's BigBird layout as a table, density 1/11": (deepspeed_bigbird, 5),
    "5 of 64 blocks by lists, density 1/13": (partial(top, LENGTH, 5), 5),
}


@pytest.mark.parametrize("name", CASES)
def test_block_sparse_attention_is_faster_than_dense_attention(benchmark, bar, name: str) -> None:
    make, least = CASES[name]
    run = partial(attncc.attention, pattern=make())
    for what, measured in (("forward", forward), ("forward and backward", forward_backward)):
        contestants = measured(run, tensors(LENGTH)), measured(scaled_dot_product_attention, tensors(LENGTH))
        if what == "forward":
            ours, theirs = in_turns(benchmark, *contestants, rounds=9)
        else:
            samples = [[contestant() for contestant in contestants] for _ in range(6)][1:]
            ours, theirs = (Timing(tuple(times)) for times in zip(*samples, strict=True))
        bar(
            f"{name}, {what}, N = 4,096, against dense",
            theirs.median / ours.median,
            f"at least {least} x",
            spread(ours, theirs),
        )


def test_lists_over_long_sequences_are_planned_in_milliseconds(benchmark, bar) -> None:
    patterns = [listed(blocks=np.random.default_rng(n).integers(0, 1 << 10, (1 << 10, 16))) for n in range(6)]
    plans: list[Plan] = []
    samples: list[float] = []

    def one() -> None:
        pattern = patterns.pop()
        samples.append(elapsed(lambda: plans.append(attncc.plan(pattern, 1 << 16)), CPU))

    one()  # imports
    benchmark.pedantic(one, rounds=5)
    taken = Timing(tuple(samples[1:]))
    what = "plan 16 of 1,024 blocks a row by lists, N = 65,536"
    bar(what, 1e3 * taken.median, "at most 250 ms", f"{taken.spread:.0%}")
    tiles = plans[-1].all_passes()[0].tiles
    bar("the same: area visited over the pairs", tiles.visited / plans[-1].nnz, "at most 1 x")
