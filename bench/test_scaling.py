"""Growth with the length on a CPU, a long sequence beside dense attention, and the peers of bench/peers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import pytest
from peers import __main__ as command
from peers import page
from test_attention import dense, forward, forward_backward, in_turns, tensors

import attncc
from attncc.measure.timing import Timing

LENGTHS = (8192, 16384, 32768, 65536, 131072)
ROUNDS = 3


def exponent(lengths: Sequence[int], run: Callable[[int], Callable[[], float]]) -> tuple[float, float]:
    """Return the exponent of time in length, by least squares of logarithms, and the largest spread of the times.

    The lengths take turns, so that other work of the machine slows all of them alike.
    """
    calls = [run(length) for length in lengths]
    for call in calls:
        call()
    rounds = [[call() for call in calls] for _ in range(ROUNDS)]
    taken = [Timing(samples) for samples in zip(*rounds, strict=True)]
    slope = np.polyfit(np.log(lengths), np.log([each.median for each in taken]), 1)[0]
    return float(slope), max(each.spread for each in taken)


def window(length: int) -> attncc.Pattern:
    return attncc.load("sliding_window", window=256)


def strided(length: int) -> attncc.Pattern:
    return attncc.load("strided", l=math.isqrt(length)).union()


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("name", "make", "most"), [("256-window", window, 1.1), ("strided l = sqrt(N)", strided, 1.65)]
)
def test_time_grows_as_the_edges_do(bar, name: str, make: Callable[[int], attncc.Pattern], most: float) -> None:
    slope, spread = exponent(
        LENGTHS, lambda n: forward_backward(partial(attncc.attention, pattern=make(n)), tensors(n, heads=1))
    )
    what = f"{name}, H=1, N = 8,192 to 131,072, forward and backward: exponent of time in N"
    bar(what, slope, f"at most {most} (exponent)", f"{spread:.0%}")


@pytest.mark.timeout(1800)
def test_dense_attention_grows_with_the_square(bar) -> None:
    slope, spread = exponent(LENGTHS[:3], lambda n: forward_backward(dense, tensors(n, heads=1)))
    what = "dense causal, H=1, N = 8,192 to 32,768, forward and backward: exponent of time in N"
    bar(what, slope, "at least 1.7 (exponent)", f"{spread:.0%}; for comparison")


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("measured", "least"), [(forward, 70), (forward_backward, 40)], ids=["forward", "forward and backward"]
)
def test_long_sequences_are_faster_than_dense_attention(
    measured, least: int, benchmark, bar, request: pytest.FixtureRequest
) -> None:
    """Dense attention takes a minute, so that it is measured once after a call that isn't counted."""
    inputs = tensors(131072, heads=1)
    run = partial(attncc.attention, pattern=attncc.load("strided", l=256).union())
    ours, theirs = in_turns(benchmark, measured(run, inputs), measured(dense, inputs), rounds=1)
    way = request.node.callspec.id
    bar(
        f"strided l=256, N = 131,072, H=1, {way}, against dense causal",
        theirs.median / ours.median,
        f"at least {least} x",
    )


def test_no_peer_is_faster_above_8192_tokens(bar) -> None:
    """By the committed figures of `python -m bench.peers`."""
    if not command.RESULTS.exists():
        pytest.skip("python -m bench.peers hasn't run")
    cells, ratios = page.read(command.RESULTS), {}
    for name, cell in cells.items():
        task, _, length = name.split("/")
        own = cells[f"{task}/attncc/{length}"].get("forward_backward_s")
        if int(length) > 8192 and own and "forward_backward_s" in cell and "/attncc/" not in name:
            ratios[name] = cell["forward_backward_s"] / own
    least = min(ratios, key=ratios.__getitem__)
    bar("every peer above N = 8,192, forward and backward, over attncc", ratios[least], "at least 1 x", least)
