"""One of several real processes dies, stops, fails or hangs: the others name it and end in time."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import psutil
import pytest
from faults import START, TIMEOUT, check, end, free_port, start
from torch.distributed import TCPStore

from attncc.distributed.liveness.monitor import GRACE

RANK = Path(__file__).with_name("faulty_rank.py")
SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("world", "pattern", "kind", "faulty"),
    [
        (4, "ring", "kill", 2),
        (4, "chain", "kill", 0),
        (3, "chain", "stop", 1),
        (3, "pairs", "kill", 2),  # rank 0 only sees rank 1 raise
        (3, "attention", "kill amid", 1),
        pytest.param(3, "attention", "stop", 2, marks=SLOW),
        pytest.param(4, "nobody but 0 and 1", "raise", 1, marks=SLOW),
        pytest.param(4, "all", "kill amid", 3, marks=SLOW),
        pytest.param(3, "all", "stop", 0, marks=SLOW),
        pytest.param(3, "ring", "raise", 0, marks=SLOW),
        pytest.param(3, "chain", "hang", 2, marks=SLOW),
        pytest.param(3, "pairs", "hang", 2, marks=SLOW),
        pytest.param(4, "pairs", "stop", 0, marks=SLOW),
    ],
)
def test_all_other_ranks_name_the_faulty_one(tmp_path, world, pattern, kind, faulty):
    processes = start(RANK, world, tmp_path, free_port(), pattern, kind, str(faulty))
    assert end(processes, faulty), (tmp_path / "log").read_text()
    check(tmp_path, world, faulty, "round")


@SLOW
@pytest.mark.parametrize(("kind", "faulty"), [("kill", 0), ("stop", 1)])
def test_faults_are_named_where_no_rank_hosts_the_store(tmp_path, kind, faulty):
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # as torchrun's agent does
    processes = start(RANK, 3, tmp_path, store.port, "chain", kind, str(faulty), TORCHELASTIC_USE_AGENT_STORE="True")
    assert end(processes, faulty), (tmp_path / "log").read_text()
    check(tmp_path, 3, faulty, "round")


@SLOW
def test_reports_on_earlier_worlds_are_ignored(tmp_path):
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    for faulty in (2, 1):
        folder = tmp_path / str(faulty)
        folder.mkdir()
        processes = start(RANK, 3, folder, store.port, "ring", "kill", str(faulty), TORCHELASTIC_USE_AGENT_STORE="True")
        assert end(processes, faulty), (folder / "log").read_text()
        check(folder, 3, faulty, "round")
        for key in store.list_keys():  # by which gloo would look for processes that are gone
            if "liveness" not in key:
                store.delete_key(key)


@SLOW
def test_stopped_ranks_are_named_under_torchrun(tmp_path):
    launcher = [sys.executable, "-m", "torch.distributed.run", "--master-port", str(free_port()), "--nproc-per-node=3"]
    with (tmp_path / "log").open("w") as log:
        agent = psutil.Popen([*launcher, str(RANK), str(tmp_path), "ring", "stop", "1"], stdout=log, stderr=log)
    deadline = time.monotonic() + START + TIMEOUT + GRACE
    while time.monotonic() < deadline and len(list(tmp_path.glob("*.json"))) < 2:
        time.sleep(0.2)
    for process in [*agent.children(recursive=True), agent]:
        process.kill()
    agent.wait()
    check(tmp_path, 3, 1, "round")
