"""Links: topologies from measurements, and measurements of real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest

from attncc.distributed.links.fit import PATTERNS, SIZES, Exchanged, Links, toml
from attncc.distributed.links.probe import measure_host
from attncc.distributed.topology import Topology
from attncc.errors import DistributedError

ALPHA, BETA, COPIES = 1e-4, 2e9, 3e9
PROGRAM = "from attncc.cli import main; main()"


def made(processes=4, alone=4e10, together=2e10):
    """Links as they are measured where the model holds, with a slow repetition each."""
    total = {"pair": 1, "ring": processes, "all": processes * (processes - 1)}
    messages = {"pair": 1, "ring": 1, "all": processes - 1}

    def seconds(pattern, size):
        latency = 2 * ALPHA * messages[pattern]
        found = latency + size * max(messages[pattern] / BETA, total[pattern] / COPIES)
        return (found, found, 10 * found)

    exchanged = tuple(Exchanged(pattern, size, seconds(pattern, size)) for pattern in PATTERNS for size in SIZES)
    return Links(processes, 1, exchanged, alone, together)


@pytest.mark.parametrize("processes", [2, 4])
def test_topologies_reproduce_measured_times(processes):
    links = made(processes)
    assert links.alpha == pytest.approx(ALPHA, rel=1e-3)
    assert links.beta == pytest.approx(BETA, rel=1e-3)
    for each, predicted in zip(links.exchanged, links.predicted(), strict=True):
        assert predicted == pytest.approx(each.median, rel=0.01)


def test_files_include_the_pool_of_cores(tmp_path):
    path = tmp_path / "here.toml"
    path.write_text(toml(made(), ['a "remark"']))
    found = Topology.load(str(path))
    assert found.count == 4
    assert found.cores == {0: 2.0}
    assert found.is_synchronous
    assert found.devices[0].share == pytest.approx(0.4)


def test_processes_faster_than_the_target_have_share_one():
    found = Topology.parse(toml(made(alone=9e11, together=9e11), ()), name="fast")
    assert found.devices[0].share == 1.0
    assert found.cores == {0: 4.0}


def test_one_process_has_no_links():
    with pytest.raises(DistributedError, match="1 process"):
        measure_host(1, print)


def plausible(found, processes):
    assert found["processes"] == processes
    assert 1e-6 < found["alpha"] < 0.1
    assert 1e7 < found["beta"] < 1e12
    assert 0 < found["cores"] <= processes
    assert len(found["exchanges"]) == len(PATTERNS) * len(SIZES)


@pytest.mark.slow
def test_doctor_measures_links_between_its_own_processes(tmp_path):
    path = tmp_path / "here.toml"
    command = [sys.executable, "-c", PROGRAM, "doctor", "--links", "--json", "--processes", "2", "--output", str(path)]
    found = subprocess.run(command, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    plausible(json.loads(found.stdout), 2)
    assert Topology.load(str(path)).count == 2


@pytest.mark.slow
def test_doctor_measures_links_under_torchrun():
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python"]
    found = subprocess.run(
        [*launcher, sys.executable, "-c", PROGRAM, "doctor", "--links", "--json"],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stderr
    plausible(json.loads(found.stdout), 2)


@pytest.mark.parametrize("after", ["", "at a step"])
def test_interrupts_end_all_processes_without_tracebacks(after):
    """A terminal sends Ctrl-C to all processes, at a step or during their imports."""
    measuring = """
import os, signal, time
from multiprocessing.process import BaseProcess
from attncc.distributed.links import probe
def say(step):
    print(step, flush=True)
kill = BaseProcess.kill
def slowly(process):
    kill(process)
    os.kill(os.getpid(), signal.SIGINT)  # once more, of an impatient user
    time.sleep(0.5)  # the other process could notice that this one has gone
BaseProcess.kill = slowly
heard = probe._heard
def started(*arguments):
    say("started")
    return heard(*arguments)
if not {after!r}:
    probe._heard = started
try:
    probe.measure_host(2, say)
except KeyboardInterrupt:
    print("interrupted")
"""
    command = [sys.executable, "-c", measuring.format(after=after)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert out.endswith("interrupted\n")
    assert "Traceback" not in err
