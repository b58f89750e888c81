"""Times schedules on real ranks: one process of a gloo world, started by test_distributed.py:

python bench/ranks_at_work.py RANK RANKS STORE

reads cases as JSON from standard input, and rank 0 prints the seconds of each: {direction: [seconds of each round]}.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Callable

import torch
import torch.distributed as dist
from simulated import INPUTS, TIMED, Timed

import attncc.distributed
from attncc.distributed import Settings

ROUNDS = 5


def main(rank: int, ranks: int, store: str) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(rank)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=ranks)
    cases = [Timed(name, Settings(**settings)) for name, settings in json.load(sys.stdin)]
    found = timed([prepared(each) for each in cases])
    if rank == 0:
        print(json.dumps(found))
    dist.destroy_process_group()


def prepared(case: Timed) -> Callable[[], dict[str, float]]:
    """Return a call of a case, which gives the seconds of its forward and backward until the slowest rank is done."""
    length, pattern = TIMED[case.name]
    sizes = {"heads": INPUTS.heads, "kv_heads": INPUTS.kv_heads, "head_dim": INPUTS.head_dim, "dtype": INPUTS.dtype}
    op = attncc.distributed.compile(pattern(length), length, **sizes, settings=case.settings)
    shape = (1, INPUTS.heads, len(op.positions()), INPUTS.head_dim)

    def run() -> dict[str, float]:
        query, key, value = (torch.randn(shape, requires_grad=True) for _ in range(3))
        gradient = torch.randn(shape)
        results: list[torch.Tensor] = []
        forward = slowest(lambda: results.append(op(query, key, value)))
        backward = slowest(lambda: torch.autograd.backward(results[0], gradient))
        return {"forward": forward, "backward": backward}

    return run


def slowest(call: Callable[[], None]) -> float:
    """Return the seconds that a call takes on the slowest rank; all begin together."""
    dist.barrier()
    begin = time.perf_counter()
    call()
    taken = torch.tensor(time.perf_counter() - begin, dtype=torch.float64)
    dist.all_reduce(taken, dist.ReduceOp.MAX)
    return float(taken)


def timed(cases: list[Callable[[], dict[str, float]]]) -> list[dict[str, list[float]]]:
    """Time cases in rounds, in another order each, so that what else the machine does hits them alike."""
    found: list[dict[str, list[float]]] = [{"forward": [], "backward": []} for _ in cases]
    for call in cases:
        call()  # compiles, and fills caches
    for number in range(ROUNDS):
        for at in random.Random(number).sample(range(len(cases)), len(cases)):
            for way, seconds in cases[at]().items():
                found[at][way].append(seconds)
    return found


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
