"""A rank in the tests of odd ranks: training steps, in one of which one rank passes other tensors."""

from __future__ import annotations

import sys

import torch
from faults import Training

import attncc
from attncc.distributed import Settings

ODD_STEP = 3
CHANGES = {
    "dtype": lambda x: x.detach().bfloat16().requires_grad_(),
    "batch": lambda x: torch.cat([x, x]),
    "gradients": lambda x: x.detach(),
    "gradients after evaluation": lambda x: x.detach(),
}


def main(folder, change, odd, spread):
    training = Training(folder)
    settings = Settings(unit=8, spread=int(spread))
    op = training.operator(attncc.load("sliding_window", window=40), settings=settings)
    x = torch.randn(1, 2, len(op.positions()), 8, requires_grad=True)

    def step(number):
        if change.endswith("evaluation"):
            op(*[x.detach()] * 3)
        given = CHANGES[change](x) if (training.rank, number) == (int(odd), ODD_STEP) else x
        out = op(given, given, given)
        if out.requires_grad:
            out.sum().backward()

    training.run(step)


if __name__ == "__main__":
    main(*sys.argv[1:])
