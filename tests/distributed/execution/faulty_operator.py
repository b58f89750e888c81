"""A rank in the tests of operator faults: training steps, until one rank fails."""

from __future__ import annotations

import os
import signal
import sys

import torch
import torch.distributed as dist
from faults import Training

import attncc
from attncc.distributed import Settings

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


def main(folder, name, faulty, *fault):
    training = Training(folder)
    pattern, settings = OPERATORS[name]
    op = training.operator(pattern, settings=Settings(**settings))
    query, key, value = (torch.randn(1, 2, len(op.positions()), 8, requires_grad=True) for _ in range(3))
    strikes = Fault(*fault) if training.rank == int(faulty) else None

    def step(number):
        if strikes:
            strikes.enter("forward", number)
        out = op(query, key, value)
        if strikes:
            strikes.enter("backward", number)
        out.sum().backward()

    training.run(step)


if __name__ == "__main__":
    main(*sys.argv[1:])
