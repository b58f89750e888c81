"""Worlds with one faulty rank: starting, ending, and checking the errors of the others."""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

import attncc
from attncc.distributed.liveness.monitor import GRACE

HERE = os.path.dirname(os.path.abspath(__file__))
TIMEOUT = 4.0  # of every exchange
SLACK = 10.0  # seconds that a busy machine may add to those; waits without the timeout take a minute
START = 240.0  # seconds for processes to import torch and to meet, on a busy machine


def free_port():
    """Return a port that is free now, and that no process gets by chance before it is used: systems give out others."""
    with socket.socket() as probe:
        while True:
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", random.randrange(20_000, 32_000)))
                return probe.getsockname()[1]


def start(script, world, folder, port, *arguments, **variables):
    """Start the ranks of a world that meet at a port."""
    common = {"OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(world)}
    common["PYTHONPATH"] = os.pathsep.join([HERE, os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    with (folder / "log").open("w") as log:
        return [
            subprocess.Popen(
                [sys.executable, str(script), str(folder), *arguments],
                env=os.environ | common | variables | {"RANK": str(rank)},
                stdout=log,
                stderr=log,
            )
            for rank in range(world)
        ]


def end(processes, faulty):
    """Wait for all but the faulty rank, which may be stopped; return whether none of them had to be killed."""
    deadline = time.monotonic() + START + TIMEOUT + GRACE
    try:
        for rank, process in enumerate(processes):
            if rank != faulty:
                process.wait(max(0.1, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return False
    finally:
        for process in processes:
            process.kill()
            process.wait()
    return True


def check(folder, world, faulty, *words, named=None):
    """Check that all other ranks raise in time, and name the faulty rank or `named`."""
    named = faulty if named is None else named
    reports = {rank: folder / f"{rank}.json" for rank in range(world) if rank != faulty}
    assert all(path.exists() for path in reports.values()), (folder / "log").read_text()
    for path in reports.values():
        found = json.loads(path.read_text())
        assert found["rank"] == named, found
        assert all(word in found["text"] for word in (f"Rank {named} ", *words)), found
        assert found["seconds"] < TIMEOUT + GRACE + SLACK


class Training:
    """Steps of training on a rank, whose error is written down with the seconds that its step took."""

    def __init__(self, folder):
        self.rank, self.folder = int(os.environ["RANK"]), folder
        torch.set_num_threads(1)
        dist.init_process_group("gloo", timeout=timedelta(seconds=60))

    def operator(self, pattern, **options):
        """Return an attention of 256 tokens and two heads, after a step of another one has imported and planned all."""
        for timeout in (60.0, TIMEOUT):
            op = attncc.distributed.compile(pattern, 256, heads=2, timeout=timeout, **options)
            x = torch.randn(1, 2, len(op.positions()), 8, requires_grad=True)
            op(x, x, x).sum().backward()
        return op

    def run(self, step):
        """Call step(number) until it raises."""
        for number in range(400):
            begin = time.monotonic()
            try:
                step(number)
            except attncc.DistributedError as error:
                found = {"rank": error.rank, "text": str(error), "seconds": time.monotonic() - begin}
                Path(self.folder, f"{self.rank}.json").write_text(json.dumps(found))
                raise
