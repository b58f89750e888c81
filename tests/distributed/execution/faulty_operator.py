"""What the tests of an operator's faults run as a rank: training steps until one rank has a fault in one of them."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from faults import TIMEOUT

import attncc
from attncc.distributed import Settings
from attncc.errors import DistributedError

FAULTY_STEP = 3
OPERATORS = {
    "window": (attncc.load("sliding_window", window=40), {"unit": 8, "stages": 2}),
    "causal": (attncc.load("causal"), {"unit": 8, "stages": 3}),
    "spread": (attncc.load("sliding_window", window=40), {"unit": 8, "spread": 2}),
}


class Fault:
    """Stops or kills this process at an exchange of a phase, `before` it is posted or `after`."""

    def __init__(self, kind, phase, number, moment):
        self.wanted, self.kind = (phase, int(number), moment), kind
        self.phase, self.count = "", 0
        self.original, dist.all_to_all_single = dist.all_to_all_single, self.exchange

    def exchange(self, *arguments, **options):
        self._strike("before")
        work = self.original(*arguments, **options)
        self._strike("after")
        self.count += 1
        return work

    def _strike(self, moment):
        if (self.phase, self.count, moment) == self.wanted:
            os.kill(os.getpid(), {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}[self.kind])

    def enter(self, phase, step):
        self.phase, self.count = phase if step == FAULTY_STEP else "", 0


def steps(name, fault):
    pattern, settings = OPERATORS[name]
    op = attncc.distributed.compile(pattern, 256, heads=2, settings=Settings(**settings), timeout=TIMEOUT)
    query, key, value = (torch.randn(1, 2, len(op.positions()), 8, requires_grad=True) for _ in range(3))
    for number in range(400):
        if fault:
            fault.enter("forward", number)
        out = op(query, key, value)
        if fault:
            fault.enter("backward", number)
        out.sum().backward()


def main(folder, name, faulty, *fault):
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    torch.set_num_threads(1)
    dist.init_process_group("gloo", timeout=timedelta(seconds=60))
    begin = time.monotonic()
    try:
        steps(name, Fault(*fault) if rank == int(faulty) else None)
    except DistributedError as error:
        found = {"rank": error.rank, "text": str(error), "seconds": time.monotonic() - begin, "world": world}
        Path(folder, f"{rank}.json").write_text(json.dumps(found))
        raise


if __name__ == "__main__":
    main(*sys.argv[1:])
