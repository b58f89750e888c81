"""examples/distributed_lm.py; process 1 kills itself at a step of the first attempt."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))
import distributed_lm
import typer

FATAL_STEP = 4


def dying(team, training, corpus, settings, train=distributed_lm.train):
    for history in train(team, training, corpus, settings):
        if len(history.train) == FATAL_STEP:
            os.kill(os.getpid(), signal.SIGKILL)
        yield history


if __name__ == "__main__":
    if os.environ["TORCHELASTIC_RESTART_COUNT"] == "0" and os.environ["RANK"] == "1":
        distributed_lm.train = dying
    typer.run(distributed_lm.main)
