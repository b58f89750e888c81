"""Plans new documents at each step on gloo ranks: one process of the world, started by test_distributed.py:

python bench/documents_on_ranks.py RANK RANKS STORE LENGTH

Rank 0 prints the seconds of its thread that each step takes beyond the same step again, as JSON. It asks for nothing
but the public API, so that it runs on other checkouts, too.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import torch
import torch.distributed as dist

import attncc
import attncc.distributed

STEPS, WARM, DOCUMENT = 8, 3, 1024


@attncc.pattern
def documents(i, j, *, ids: attncc.Table):
    return (ids[i] == ids[j]) & (j <= i)


def main(rank: int, ranks: int, store: str, length: int) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=ranks)
    draw, found = np.random.default_rng(0), []

    def drawn() -> attncc.Pattern:
        ids = np.sort(draw.integers(0, length // DOCUMENT, length)).astype(np.int32)
        return documents(ids=torch.from_numpy(ids))

    op = attncc.distributed.compile(drawn(), length, head_dim=16, dtype="fp32")
    x = torch.randn(1, 1, len(op.positions()), 16)
    for _ in range(STEPS):
        pattern = drawn()
        begin = time.thread_time()
        op = op.replanned(pattern)
        op(x, x, x)
        between = time.thread_time()
        op(x, x, x)
        found.append(2 * between - begin - time.thread_time())
    if rank == 0:
        print(json.dumps(found[WARM:]))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
