"""Choose a schedule for a million tokens on 64 H100 in a fresh process; print the seconds as JSON."""

from __future__ import annotations

import json
import sys
import time

import numpy as np

import attncc
from attncc import Condition, Index, Table
from attncc.backends.inputs import Inputs
from attncc.distributed.schedules.sharing import Sharing
from attncc.distributed.simulation.choose import choose
from attncc.distributed.simulation.scenario import Scenario
from attncc.distributed.topology import Topology

LENGTH, RANKS, BLOCK = 1 << 20, 64, 64


@attncc.pattern
def bigbird(i: Index, j: Index, *, chosen: Table) -> Condition:
    """Blocks of 64: neighbours, two global ones, and `chosen` ones (Zaheer et al. 2020, section 2)."""
    return (abs(i // BLOCK - j // BLOCK) <= 1) | (i < 2 * BLOCK) | (j < 2 * BLOCK) | chosen[i // BLOCK, j // BLOCK]


def pattern(name: str) -> attncc.Pattern:
    """Return the pattern that a bar names."""
    if name == "window":
        return attncc.load("sliding_window", window=256)
    if name == "strided":
        return attncc.load("strided", l=1024).union()
    blocks = LENGTH // BLOCK
    chosen = np.zeros((blocks, blocks), bool)
    chosen[np.arange(blocks)[:, None], np.random.default_rng(0).integers(0, blocks, (blocks, 3))] = True
    return bigbird(chosen=chosen)


def main(name: str) -> None:
    sys.modules["mtkahypar"] = None  # the bars are for what needs no optional package
    chosen, topology = pattern(name), Topology.load("64xh100")
    inputs = Inputs(batch=1, heads=32, kv_heads=8, head_dim=128, value_dim=128, dtype="bf16")
    begin = time.perf_counter()
    tried = choose(Scenario(chosen, LENGTH, inputs, topology, ("forward",)), [Sharing(parts=RANKS)])
    seconds = time.perf_counter() - begin
    print(json.dumps({"seconds": seconds, "tried": len(tried), "settings": repr(tried[0].settings)}))


if __name__ == "__main__":
    main(sys.argv[1])
