"""BlockMasks out of patterns, compared with create_block_mask, which looks at every pair."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from test_attention import CPU, in_turns, spread
from test_planning import LABELS, MASK_MODS, MILLION
from torch.nn.attention.flex_attention import create_block_mask

import attncc
from attncc.interop import to_block_mask
from attncc.measure.timing import Timing, elapsed

TITLES = {"window": "256-window", "strided": LABELS["strided"]}


def seconds(call: Callable[[], object]) -> Callable[[], float]:
    return lambda: elapsed(call, CPU)


def test_a_million_tokens_have_a_block_mask_in_milliseconds(benchmark, bar) -> None:
    run = seconds(partial(to_block_mask, attncc.from_mask_mod(MASK_MODS["window"]), MILLION, device="cpu"))
    run()
    samples: list[float] = []
    benchmark.pedantic(lambda: samples.append(run()), rounds=5)
    timing = Timing(tuple(samples))
    bar("BlockMask of a 256-window, N = 1,048,576", 1e3 * timing.median, "at most 150 ms", f"{timing.spread:.0%}")


@pytest.mark.parametrize("length", [8192, 16384])
@pytest.mark.parametrize("name", MASK_MODS)
def test_block_masks_are_made_faster_than_by_looking_at_pairs(benchmark, bar, name: str, length: int) -> None:
    mask_mod = MASK_MODS[name]
    ours = partial(to_block_mask, attncc.from_mask_mod(mask_mod), length, device="cpu")
    theirs = partial(create_block_mask, mask_mod, None, None, length, length, device="cpu")
    found, wanted = in_turns(benchmark, seconds(ours), seconds(theirs), rounds=3)
    what = f"BlockMask of {TITLES[name]}, N = {length:,}, against create_block_mask"
    bar(what, wanted.median / found.median, "at least 10 x", spread(found, wanted))
