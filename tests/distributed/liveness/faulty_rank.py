"""A rank in the tests of liveness: exchanges until one rank fails, and the errors of the others."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

import attncc
import attncc.distributed
from attncc.distributed.liveness.liveness import Liveness
from attncc.errors import DistributedError

BYTES = 1 << 22
TIMEOUT = 4.0
FAULTY_ROUND = 3


def bytes_between(pattern, source, target, world):
    """Bytes from source to target: all to all, to the next, or between neighbours in a row."""
    sends = {
        "all": source != target,
        "ring": target == (source + 1) % world,
        "chain": abs(source - target) == 1,
        "nobody but 0 and 1": {source, target} == {0, 1},
    }
    return BYTES if sends[pattern] else 0


def exchange(what, liveness, group, pattern):
    rank, world = dist.get_rank(group), dist.get_world_size(group)
    given = [bytes_between(pattern, rank, target, world) for target in range(world)]
    taken = [bytes_between(pattern, source, rank, world) for source in range(world)]
    buffers = [torch.zeros(sum(sizes), dtype=torch.uint8) for sizes in (taken, given)]
    with liveness.guard(what):
        work = dist.all_to_all_single(*buffers, taken, given, group=group, async_op=True)
    with liveness.guard(what):
        liveness.wait(work)


def fault(kind):
    """Die, stop or fail, at once or while an exchange is on its way."""
    if kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "kill amid":
        threading.Timer(0.002, os.kill, (os.getpid(), signal.SIGKILL)).start()
    if kind == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    if kind == "raise":
        raise ValueError("a fault of this rank's own")
    if kind == "hang":
        time.sleep(60)


def groups(rank, world, pattern):
    """Return the groups that a rank is in: the world, or a pair with each neighbour."""
    if pattern != "pairs":
        return [dist.new_group(range(world))]
    pairs = [dist.new_group([first, first + 1]) for first in range(world - 1)]
    return [pair for first, pair in enumerate(pairs) if rank in (first, first + 1)]


def exchanges(rank, world, pattern, kind, faulty):
    """Yield before each round."""
    watched = [(group, Liveness(group, TIMEOUT)) for group in groups(rank, world, pattern)]
    for number in range(200):
        yield
        if number == FAULTY_ROUND and rank == faulty:
            fault(kind)
        for group, liveness in watched:
            exchange(f"round {number}", liveness, group, "all" if pattern == "pairs" else pattern)


def attentions(rank, world, kind, faulty):
    """Yield before each attention, and its gradients, over a window, through the operator that users call."""
    for timeout in (60.0, TIMEOUT):  # the first one imports and plans all, on some ranks long before others
        op = attncc.distributed.compile(attncc.load("sliding_window", window=100), 512, dtype="fp32", timeout=timeout)
        tensors = [torch.randn(1, 1, len(op.positions()), 64, requires_grad=True) for _ in range(3)]
        op(*tensors).sum().backward()
    for number in range(200):
        yield
        if number == FAULTY_ROUND and rank == faulty:
            fault(kind)
        op(*tensors).sum().backward()


def main(folder, pattern, kind, faulty):
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    torch.set_num_threads(1)
    dist.init_process_group("gloo", timeout=timedelta(seconds=60))
    if pattern == "attention":
        rounds = attentions(rank, world, kind, int(faulty))
    else:
        rounds = exchanges(rank, world, pattern, kind, int(faulty))
    try:
        for _ in rounds:
            begin = time.monotonic()  # of the failing round: earlier ones may take long on a busy machine
    except DistributedError as error:
        found = {"rank": error.rank, "text": str(error), "seconds": time.monotonic() - begin}
        Path(folder, f"{rank}.json").write_text(json.dumps(found))
        raise


if __name__ == "__main__":
    main(*sys.argv[1:])
