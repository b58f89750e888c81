"""Real processes, of which one dies, stops, fails or hangs: the others name it, and leave in time."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from attncc.distributed.monitor import GRACE

RANK = Path(__file__).with_name("faulty_rank.py")
TIMEOUT = 4.0  # of faulty_rank.py
START = 30.0  # seconds for processes to import torch and to meet, on a busy machine


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def environment(**more):
    return os.environ | {"OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1"} | {k: str(v) for k, v in more.items()}


def start(world, folder, *arguments):
    """Start the ranks on their own: the process of rank 0 hosts the store."""
    port = free_port()
    with (folder / "log").open("w") as log:
        return [
            subprocess.Popen(
                [sys.executable, str(RANK), str(folder), *arguments],
                env=environment(RANK=rank, WORLD_SIZE=world, MASTER_PORT=port),
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


def check(folder, world, faulty):
    reports = {rank: folder / f"{rank}.json" for rank in range(world) if rank != faulty}
    assert all(path.exists() for path in reports.values()), (folder / "log").read_text()
    for path in reports.values():
        found = json.loads(path.read_text())
        assert found["rank"] == faulty, found
        assert f"Rank {faulty} " in found["text"]
        assert "round" in found["text"]
        assert found["seconds"] < TIMEOUT + GRACE + 3  # of which the rounds before the fault are a part


@pytest.mark.parametrize(
    ("world", "pattern", "kind", "faulty"),
    [
        (4, "ring", "kill", 2),
        (4, "all", "kill amid", 3),
        (4, "chain", "kill", 0),
        (3, "chain", "stop", 1),
        (3, "all", "stop", 0),
        (4, "nobody but 0 and 1", "raise", 1),
        (3, "ring", "raise", 0),
        (3, "chain", "hang", 2),
    ],
)
def test_all_others_name_the_faulty_rank(tmp_path, world, pattern, kind, faulty):
    processes = start(world, tmp_path, pattern, kind, str(faulty))
    assert end(processes, faulty), (tmp_path / "log").read_text()
    check(tmp_path, world, faulty)


@pytest.mark.parametrize(("kind", "faulty"), [("kill", 0), ("stop", 1)])
def test_with_the_store_in_torchruns_agent(tmp_path, kind, faulty):
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "3",
        "--master-port",
        str(free_port()),
    ]
    found = subprocess.run(
        [*command, str(RANK), str(tmp_path), "chain", kind, str(faulty)],
        env=environment(),
        timeout=START + TIMEOUT + GRACE + 40,
        capture_output=True,
        text=True,
    )
    assert found.returncode, found.stderr
    check(tmp_path, 3, faulty)
