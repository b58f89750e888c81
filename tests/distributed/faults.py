"""Worlds of which one rank has a fault: started, ended, and what the others have raised."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time

from attncc.distributed.liveness.monitor import GRACE

HERE = os.path.dirname(os.path.abspath(__file__))
TIMEOUT = 4.0  # of every exchange
START = 30.0  # seconds for processes to import torch and to meet, on a busy machine


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
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


def check(folder, world, faulty, word="round"):
    reports = {rank: folder / f"{rank}.json" for rank in range(world) if rank != faulty}
    assert all(path.exists() for path in reports.values()), (folder / "log").read_text()
    for path in reports.values():
        found = json.loads(path.read_text())
        assert found["rank"] == faulty, found
        assert f"Rank {faulty} " in found["text"]
        assert word in found["text"]
        assert found["seconds"] < TIMEOUT + GRACE + 3  # of which the rounds before the fault are a part
